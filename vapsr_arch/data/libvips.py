"""pyvips as it is used here: without its log, in which a Ctrl-C that comes while libvips works would be lost."""

import os

os.environ.setdefault('VIPS_WARNING', '0')  # what libraries say of a damaged file is said once, by us
import pyvips

# Its handler is Python that C calls: an exception there, such as KeyboardInterrupt, goes no further than a traceback on stderr.
pyvips._remove_log_handler()
pyvips.cache_set_max(0)  # it goes by file names: a file that was written again would come out as it was
pyvips.block_untrusted_set(True)
