"""VapSR: published parameter counts, keys, gradients, sizes, memory format, refusals."""

from pathlib import Path

import pytest
import torch

from vapsr_arch.archs.common import depthwise
from vapsr_arch.archs.vapsr_arch import VAB, VapSR
from vapsr_arch.weights.checkpoints import load_state_dict

PUBLISHED = {  # paper and checkpoints: arguments, parameters
    'x2': (dict(scale=2, num_feat=48, num_block=20), 329_236),
    'x3': (dict(scale=3, num_feat=48, num_block=20), 336_811),
    'x4': (dict(scale=4, num_feat=48, num_block=21), 342_220),
    'S': (dict(scale=4, num_feat=32, num_block=11, conv_groups=2), 154_956),
}
CHECKPOINTS = {'x2': 'VapSR_X2.pth', 'x3': 'VapSR_X3.pth', 'x4': 'VapSR_X4.pth', 'S': 'VapSR-S.pth'}


def small(**arguments: int) -> VapSR:
    torch.manual_seed(0)
    return VapSR(**(dict(num_feat=8, num_block=2, d_atten=16) | arguments))


@pytest.mark.parametrize('variant', PUBLISHED)
def test_parameter_counts_are_the_published_ones(variant: str) -> None:
    arguments, count = PUBLISHED[variant]
    with torch.device('meta'):
        assert sum(parameter.numel() for parameter in VapSR(**arguments).parameters()) == count


@pytest.mark.parametrize('variant', PUBLISHED)
def test_keys_and_shapes_equal_the_checkpoints(variant: str, reference: Path) -> None:
    theirs, key = load_state_dict(reference / 'weights' / CHECKPOINTS[variant])
    with torch.device('meta'):
        ours = VapSR(**PUBLISHED[variant][0]).state_dict()
    assert key == 'params_ema'
    assert {name: tensor.shape for name, tensor in theirs.items()} == {name: tensor.shape for name, tensor in ours.items()}


@pytest.mark.parametrize('scale', [1, 2, 3, 4, 5, 8])
def test_output_is_the_input_times_scale_from_one_pixel_up(scale: int) -> None:
    network = small(scale=scale)
    with torch.no_grad():
        for height, width in ((1, 1), (1, 7), (5, 2), (16, 9), (17, 17)):
            assert network(torch.rand(2, 3, height, width)).shape == (2, 3, scale * height, scale * width)


@pytest.mark.parametrize('scale', [2, 4])
def test_every_parameter_gets_a_gradient(scale: int) -> None:
    network = small(scale=scale, conv_groups=2)
    network(torch.rand(1, 3, 20, 20)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_contiguous_and_channels_last_input_give_the_same_output() -> None:
    network = small(scale=4)
    image = torch.rand(2, 3, 12, 10)
    with torch.no_grad():
        torch.testing.assert_close(network(image), network(image.contiguous(memory_format=torch.channels_last)))


@pytest.mark.gpu
def test_gpu_gives_the_outputs_and_gradients_of_the_cpu() -> None:
    image = torch.rand(2, 3, 24, 20)
    outputs, gradients = [], []
    for device in ('cpu', 'cuda'):
        network = small(scale=4).to(device)
        outputs.append(network(image.to(device)))
        outputs[-1].square().mean().backward()
        gradients.append([parameter.grad.cpu() for parameter in network.parameters()])
    torch.testing.assert_close(outputs[0], outputs[1].cpu(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_blocks_stay_in_channels_last() -> None:
    network = small(scale=2)
    seen = []
    for module in network.modules():
        if isinstance(module, VAB):
            module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    network(torch.rand(1, 3, 16, 16))
    assert len(seen) == 2
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for pair in seen for tensor in pair)


def test_only_the_image_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, 'DILATION_IS_SLOW', False)  # else the grids of dilated convolutions are, which pays
    copied = []

    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: ANN001
            if function in (torch.ops.aten.clone.default, torch.ops.aten.copy_.default) and args[0].ndim == 4:  # no kernel
                copied.append(tuple(args[0].shape))
            return function(*args, **(kwargs or {}))

    image = torch.rand(1, 3, 16, 16)
    network = small(scale=2)
    with Recorder():
        network(image)
    assert copied == [tuple(image.shape)]


@pytest.mark.parametrize('variant', PUBLISHED)
def test_infer_gives_back_the_arguments(variant: str) -> None:
    arguments = dict(num_in_ch=3, num_out_ch=3, d_atten=64, conv_groups=1) | PUBLISHED[variant][0]
    with torch.device('meta'):
        state_dict = VapSR(**arguments).state_dict()
    assert VapSR.infer(state_dict) == arguments


def test_infer_of_unknown_weights_is_none() -> None:
    assert VapSR.infer({}) is None
    assert VapSR.infer(torch.nn.Conv2d(3, 3, 3).state_dict()) is None


@pytest.mark.parametrize('arguments, words', [
    (dict(scale=0), 'scale must be a positive integer, not 0'),
    (dict(num_block=-1), 'num_block must be a positive integer, not -1'),
    (dict(num_feat='48'), "num_feat must be a positive integer, not '48'"),
    (dict(num_feat=10, conv_groups=4), 'num_feat 10 is not divisible by conv_groups 4'),
])
def test_bad_arguments_are_refused(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VapSR(**arguments)


@pytest.mark.parametrize('shape, words', [
    ((3, 8, 8), 'must be N x 3 x H x W, not 3 x 8 x 8'),
    ((1, 1, 8, 8), 'must be N x 3 x H x W, not 1 x 1 x 8 x 8'),
])
def test_bad_input_is_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small()(torch.rand(shape))
