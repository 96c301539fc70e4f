"""The networks for programs that load theirs with spandrel, such as chaiNNer and ComfyUI.

Two lines, before the program loads its first network:

    from vapsr_arch.export import spandrel_support
    spandrel_support.install()

From then on `spandrel.ModelLoader().load_from_file('VapSR_X4.pth')` gives a network of this package, from `.pth` and
`.safetensors`. For ComfyUI, a file in `custom_nodes` with these lines and `NODE_CLASS_MAPPINGS = {}` does.

spandrel recognises networks by their weights alone. Those of PAN are the same for x2 and x3: they load as x2, so that a PAN for
x3 cannot be used this way.
"""

import torch
from torch import nn

from vapsr_arch.archs import NETWORKS
from vapsr_arch.archs.common.blocks import CCA
from vapsr_arch.torchvision_operators import define_torchvision_operators
from vapsr_arch.weights.networks import mismatch

define_torchvision_operators()  # spandrel imports torchvision

from spandrel import (  # noqa: E402
    MAIN_REGISTRY,
    Architecture,
    ArchRegistry,
    ArchSupport,
    ImageModelDescriptor,
    ModelTiling,
    SizeRequirements,
    StateDict,
)

_PAN_NAMES = {'out_nc': 'num_out_ch', 'nf': 'num_feat', 'nb': 'num_block'}  # what PAN's authors call what others call so


class NetworkArchitecture(Architecture[nn.Module]):
    """A network of `NETWORKS` as spandrel wants it described.

    Args:
        name: Its name in `NETWORKS`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(id=name, name=name.replace('_', '-'), detect=self._fits)
        self._network = NETWORKS[name]

    def _fits(self, state_dict: StateDict) -> bool:
        """Whether weights are this network's, every one: what resembles it is left to architectures that come later."""
        arguments = self._network.infer(state_dict)
        if arguments is None:
            return False
        try:
            with torch.device('meta'):
                return mismatch(self._network(**arguments), state_dict) is None
        except ValueError:  # the shapes give arguments that no such network has
            return False

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[nn.Module]:
        """Builds the network with its weights.

        Args:
            state_dict: Tensors by name, for which `detect` is true.

        Returns:
            The network for one image in [0, 1], RGB, 1 x channels x H x W. spandrel fills up what is smaller than the
            network takes.
        """
        arguments = self._network.infer(state_dict)
        network = self._network(**arguments)
        common = {_PAN_NAMES.get(key, key): value for key, value in arguments.items()}
        return ImageModelDescriptor(
            network,
            state_dict,
            architecture=self,
            purpose='SR' if network.scale > 1 else 'Restoration',
            tags=[f'{common["num_feat"]}nf', f'{common["num_block"]}nb'],
            # CCA squares features: a checkerboard of single pixels is beyond float16, and turns the whole image to NaN.
            supports_half=not any(isinstance(module, CCA) for module in network.modules()),
            supports_bfloat16=True,
            scale=network.scale,
            input_channels=network.num_in_ch,
            output_channels=common['num_out_ch'],
            size_requirements=SizeRequirements(minimum=network.min_size),
            # A tile of a network without a halo comes out otherwise than in the whole image, however far tiles overlap.
            tiling=ModelTiling.DISCOURAGED if network.halo is None else ModelTiling.SUPPORTED,
        )


def install(registry: ArchRegistry = MAIN_REGISTRY) -> None:
    """Makes the networks known to spandrel; a second call changes nothing.

    They are tried after those that spandrel knows itself, none of which takes their weights for its own.

    Args:
        registry: Where they go; spandrel's own is used by every `ModelLoader()`. An architecture there of the same id stays.
    """
    registry.add(*(ArchSupport.from_architecture(NetworkArchitecture(name)) for name in NETWORKS), ignore_duplicates=True)
