"""The networks. They are plain torch modules: `vapsr_arch.plugin.load` registers them with BasicSR.

BasicSR's registry cannot be imported without the whole of BasicSR (seconds, and hundreds of MB), which those who only
enlarge pictures should not pay for.
"""

from torch import nn

from vapsr_arch.archs.vapsr_arch import VapSR

NETWORKS: dict[str, type[nn.Module]] = {network.__name__: network for network in (VapSR,)}

# The names under which the authors registered their classes, so that their option files run.
AUTHORS_NAMES = {'vapsr': 'VapSR'}
