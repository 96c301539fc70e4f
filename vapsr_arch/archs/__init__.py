"""The networks. They are plain torch modules: `vapsr_arch.plugin` registers them with BasicSR.

BasicSR's registry cannot be imported without the whole of BasicSR (seconds, and hundreds of MB), which those who only
upscale images should not pay for.
"""

from torch import nn

from vapsr_arch.archs.bsrn_arch import BSRN
from vapsr_arch.archs.bsrn_s_arch import BSRN_S
from vapsr_arch.archs.imdn_arch import IMDN
from vapsr_arch.archs.pan_arch import PAN
from vapsr_arch.archs.rfdn_arch import RFDN
from vapsr_arch.archs.roadmap_arch import PixelAttentionRoadmap
from vapsr_arch.archs.vapsr_arch import VapSR

NETWORKS: dict[str, type[nn.Module]] = {
    network.__name__: network for network in (VapSR, IMDN, RFDN, BSRN, BSRN_S, PAN, PixelAttentionRoadmap)}

# The names under which the authors registered their classes, so that their option files run, and those of their papers.
AUTHORS_NAMES = {'vapsr': 'VapSR', 'RFDNFINALB5': 'BSRN_S', 'BSRN-S': 'BSRN_S'}
