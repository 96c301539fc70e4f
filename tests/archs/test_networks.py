"""The networks that VapSR is compared with, and its roadmap."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vapsr_arch.archs import NETWORKS
from vapsr_arch.archs.common.blocks import CCA
from vapsr_arch.archs.roadmap_arch import STEPS
from vapsr_arch.weights.networks import identify, mismatch

SCALES = (2, 3, 4)

# Network, arguments, published number of parameters.
PUBLISHED = [
    *(('IMDN', dict(scale=scale), count) for scale, count in zip(SCALES, (694404, 703059, 715176))),
    ('RFDN', dict(scale=4), 433448),
    *(('BSRN', dict(upscale=scale), count) for scale, count in zip(SCALES, (331628, 340283, 352400))),
    ('BSRN_S', dict(upscale=4), 156288),
    *(('PAN', dict(scale=scale), count) for scale, count in zip(SCALES, (261403, 261403, 272419))),
    *(('PixelAttentionRoadmap', dict(step=step), count)
      for step, count in zip(STEPS, (846576, 4123376, 239856, 241136, 241136))),
]

# Small ones of each kind, for what does not depend on size; the last entry is the smallest H and W.
SMALL = [
    ('IMDN', dict(num_feat=20, num_block=2, scale=3), 1),
    ('RFDN', dict(num_feat=10, num_block=2, scale=2), 15),
    ('BSRN', dict(num_feat=20, num_block=2, upscale=4), 15),
    ('BSRN_S', dict(num_feat=12, num_block=2, upscale=1), 15),
    *(('PAN', dict(nf=8, unf=6, nb=2, scale=scale), 1) for scale in SCALES),
    *(('PixelAttentionRoadmap', dict(step=step, num_feat=8, num_block=2), 1) for step in STEPS),
]

CONV_WEIGHTS = ('weight', 'bias')
DISTILLATION = [f'c{i}_{part}' for i in (1, 2, 3) for part in 'dr'] + ['c4', 'c5']
ESA_LAYERS = [f'esa.{layer}' for layer in ('conv1', 'conv_f', 'conv_max', 'conv2', 'conv3', 'conv3_', 'conv4')]
CCA_LAYERS = ['cca.conv_du.0', 'cca.conv_du.2']


def case_id(value: Any) -> str | None:
    if isinstance(value, dict):
        return ','.join(f'{key}={item}' for key, item in value.items())
    return None


def scale_of(arguments: dict[str, Any]) -> int:
    return arguments.get('scale', arguments.get('upscale', 4))


published = pytest.mark.parametrize(('name', 'arguments', 'count'), PUBLISHED, ids=case_id)
small = pytest.mark.parametrize(('name', 'arguments', 'smallest'), SMALL, ids=case_id)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On images this small, threads wait for one another longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(name: str, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name](**arguments).eval()


def layers(*names: str, of: tuple[str, ...] = CONV_WEIGHTS) -> set[str]:
    return {f'{name}.{weight}' for name in names for weight in of}


def separable(*names: str, of: tuple[str, ...] = ('pw.weight', 'dw.weight', 'dw.bias')) -> set[str]:
    return layers(*names, of=of)


def in_blocks(count: int, block: str, *keys: str) -> set[str]:
    return {f'{block.format(i)}.{key}' for i in range(1, count + 1) for key in keys}


def imdn_keys() -> set[str]:
    return (in_blocks(6, 'IMDB{}', *layers('c1', 'c2', 'c3', 'c4', 'c5', *CCA_LAYERS))
            | layers('fea_conv', 'c.0', 'LR_conv', 'upsampler.0'))


def rfdn_keys() -> set[str]:
    return in_blocks(4, 'B{}', *layers(*DISTILLATION, *ESA_LAYERS)) | layers('fea_conv', 'c.0', 'LR_conv', 'upsampler.0')


def bsrn_keys() -> set[str]:
    pointwise = {'c1_d', 'c2_d', 'c3_d', 'c5', 'esa.conv1', 'esa.conv_f', 'esa.conv4'}
    block = (layers(*pointwise, *CCA_LAYERS) | separable(*{*DISTILLATION, *ESA_LAYERS} - pointwise))
    return in_blocks(8, 'B{}', *block) | separable('fea_conv', 'c2') | layers('c1', 'upsampler.upsampleOneStep.0')


def bsrn_s_keys() -> set[str]:
    linear = ('pw.weight', 'pw.bias', 'dw.weight', 'dw.bias')
    plain = {'c1_d', 'c2_d', 'c3_d', 'c5', 'esa.conv1', 'esa.conv2', 'esa.conv_f', 'esa.conv4'}
    block = layers(*plain, 'conv_out') | separable(*{*DISTILLATION, *ESA_LAYERS} - plain, of=linear) | {'cw'}
    return (in_blocks(5, 'B{}', *block) | separable('fea_conv', 'c2', of=linear)
            | layers('c1', 'upsampler.upsampleOneStep.0'))


def pan_keys(stages: int) -> set[str]:
    block = ('conv1_a.weight', 'conv1_b.weight', 'k1.0.weight', 'PAConv.k2.weight', 'PAConv.k2.bias', 'PAConv.k3.weight',
             'PAConv.k4.weight', 'conv3.weight')
    trunk = {f'SCPA_trunk.{i}.{key}' for i in range(16) for key in block}
    tail = {f'{layer}{i}{rest}' for i in range(1, stages + 1) for layer, rest in
            (('upconv', ''), ('att', '.conv'), ('HRconv', ''))}
    return trunk | layers('conv_first', 'trunk_conv', 'conv_last', *tail)


KEYS = {
    ('IMDN', 2): imdn_keys(), ('IMDN', 3): imdn_keys(), ('IMDN', 4): imdn_keys(), ('RFDN', 4): rfdn_keys(),
    ('BSRN', 2): bsrn_keys(), ('BSRN', 3): bsrn_keys(), ('BSRN', 4): bsrn_keys(), ('BSRN_S', 4): bsrn_s_keys(),
    ('PAN', 2): pan_keys(1), ('PAN', 3): pan_keys(1), ('PAN', 4): pan_keys(2),
}


@published
def test_parameter_count(name: str, arguments: dict[str, Any], count: int) -> None:
    with torch.device('meta'):
        network = NETWORKS[name](**arguments)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(('name', 'scale'), KEYS)
def test_state_dict_keys(name: str, scale: int) -> None:
    with torch.device('meta'):
        network = NETWORKS[name](**{'upscale' if name.startswith('BSRN') else 'scale': scale})
    assert set(network.state_dict()) == KEYS[name, scale]


@pytest.mark.parametrize(('name', 'arguments'), [
    (name, arguments) for name, arguments, _ in PUBLISHED if scale_of(arguments) == 4 or arguments == dict(scale=2)
], ids=case_id)
def test_every_parameter_gets_a_gradient(name: str, arguments: dict[str, Any]) -> None:
    network = build(name, **arguments).train()
    for module in network.modules():
        if isinstance(module, CCA):
            nn.init.ones_(module.conv_du[0].bias)  # with four channels, all of its ReLU may be dead
    network(torch.rand(2, 3, 18, 21)).square().mean().backward()
    missing = [key for key, parameter in network.named_parameters()
               if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()]
    assert missing == []


@small
def test_output_sizes(name: str, arguments: dict[str, Any], smallest: int) -> None:
    network, scale = build(name, **arguments), scale_of(arguments)
    sides = [smallest, smallest + 1, smallest + 2, 23]
    with torch.no_grad():
        for height, width in itertools.product(sides, sides):
            assert network(torch.rand(1, 3, height, width)).shape == (1, 3, scale * height, scale * width)
        assert network(torch.rand(3, 3, smallest, 17)).shape == (3, 3, scale * smallest, scale * 17)


@small
def test_memory_format_of_the_input_does_not_matter(name: str, arguments: dict[str, Any], smallest: int) -> None:
    network, x = build(name, **arguments), torch.rand(2, 3, 19, 22)
    with torch.no_grad():
        expected = network(x)
        torch.testing.assert_close(network(x.contiguous(memory_format=torch.channels_last)), expected)
        torch.testing.assert_close(network(x.transpose(2, 3).contiguous().transpose(2, 3)), expected)
        torch.testing.assert_close(network.to(memory_format=torch.channels_last)(x), expected, rtol=1e-4, atol=1e-5)


@small
def test_every_layer_stays_in_channels_last(name: str, arguments: dict[str, Any], smallest: int) -> None:
    network = build(name, **arguments).to(memory_format=torch.channels_last)
    outputs = {}
    for key, module in network.named_modules():
        module.register_forward_hook(lambda module, inputs, output, key=key: outputs.update({key: output}))
    with torch.no_grad():
        network(torch.rand(1, 3, 24, 27))
    normalised = [key for key in outputs if key.endswith('pixel_norm')]  # it works on N x H x W x C
    assert [key for key, output in outputs.items()
            if key not in normalised and not output.is_contiguous(memory_format=torch.channels_last)] == []
    assert all(outputs[key].is_contiguous() for key in normalised)


@small
def test_batch_is_independent_images(name: str, arguments: dict[str, Any], smallest: int) -> None:
    network, x = build(name, **arguments), torch.rand(2, 3, 17, 16)
    before = x.clone()
    with torch.no_grad():
        together = network(x)
        torch.testing.assert_close(together, torch.cat([network(image[None]) for image in x]), rtol=1e-4, atol=1e-5)
    assert torch.equal(x, before)


@pytest.mark.parametrize(('name', 'arguments'), [
    *((name, arguments) for name, arguments, _ in SMALL if (name, arguments.get('scale')) != ('PAN', 3)),
    ('IMDN', dict(num_in_ch=1, num_out_ch=1, scale=1, num_block=3)),
    ('BSRN', dict(num_in_ch=1, num_out_ch=1, upscale=2, num_block=11)),
    ('PAN', dict(in_nc=1, out_nc=3, nf=12, unf=16, nb=11)),
], ids=case_id)
def test_state_dict_determines_the_arguments(name: str, arguments: dict[str, Any]) -> None:
    network = build(name, **arguments)
    state_dict = network.state_dict()
    claims = {key: cls.infer(state_dict) for key, cls in NETWORKS.items() if cls.infer(state_dict) is not None}
    assert list(claims) == [name]
    again = NETWORKS[name](**claims[name]).eval()
    assert mismatch(again, state_dict) is None
    again.load_state_dict(state_dict)
    x = torch.rand(1, network.num_in_ch, 16, 15)
    with torch.no_grad():
        assert torch.equal(again(x), network(x))
    assert again.scale == network.scale
    assert identify(state_dict).startswith(f'{name}(')


@published
def test_published_state_dict_determines_its_arguments(name: str, arguments: dict[str, Any], count: int) -> None:
    with torch.device('meta'):
        network = NETWORKS[name](**arguments)
        again = NETWORKS[name](**NETWORKS[name].infer(network.state_dict()))
    assert mismatch(again, network.state_dict()) is None
    assert again.scale == (2 if (name, network.scale) == ('PAN', 3) else network.scale)  # they have the same shapes


def test_one_upscaling_step_of_pan_is_taken_for_x2() -> None:
    inferred = NETWORKS['PAN'].infer(build('PAN', scale=3).state_dict())
    assert inferred == dict(in_nc=3, out_nc=3, nf=40, unf=24, nb=16, scale=2)


@pytest.mark.parametrize('name', NETWORKS)
def test_strange_weights_are_nobodys(name: str) -> None:
    with torch.device('meta'):
        state_dict = NETWORKS[name]().state_dict()
    assert NETWORKS[name].infer(state_dict) is not None
    assert identify({}) is None
    assert identify({key: torch.tensor(0.0) for key in state_dict}) is None


@pytest.mark.parametrize(('name', 'argument', 'value', 'message'), [
    ('IMDN', 'scale', 0, 'IMDN: scale must be a positive integer, not 0'),
    ('IMDN', 'num_feat', 12, 'IMDN: num_feat must be 16 at least, not 12'),
    ('IMDN', 'num_block', 2.0, 'IMDN: num_block must be a positive integer, not 2.0'),
    ('RFDN', 'num_feat', 3, 'RFDN: num_feat must be 4 at least, not 3'),
    ('RFDN', 'num_in_ch', True, 'RFDN: num_in_ch must be a positive integer, not True'),
    ('BSRN', 'upscale', -2, 'BSRN: upscale must be a positive integer, not -2'),
    ('BSRN', 'num_feat', 8, 'BSRN: num_feat must be 16 at least, not 8'),
    ('BSRN', 'conv', 'BSConvS', "BSRN: conv must be BSConvU, not 'BSConvS'"),
    ('BSRN_S', 'num_out_ch', '3', "BSRN-S: num_out_ch must be a positive integer, not '3'"),
    ('BSRN_S', 'num_feat', 2, 'BSRN-S: num_feat must be 4 at least, not 2'),
    ('BSRN_S', 'conv', None, 'BSRN-S: conv must be BSConvU, not None'),
    ('PAN', 'nb', 0, 'PAN: nb must be a positive integer, not 0'),
    ('PAN', 'nf', 41, 'PAN: nf must be even, not 41'),
    ('PAN', 'in_nc', 4, 'PAN: the upscaled input is added to the output: in_nc 4 must be 1 or out_nc 3'),
    ('PixelAttentionRoadmap', 'step', 'vi', "step must be one of i, ii, iii, iv, v, not 'vi'"),
    ('PixelAttentionRoadmap', 'num_block', 0, 'PixelAttentionRoadmap: num_block must be a positive integer, not 0'),
])
def test_bad_arguments_are_refused(name: str, argument: str, value: object, message: str) -> None:
    with pytest.raises(ValueError) as error:
        NETWORKS[name](**{argument: value})
    assert message in str(error.value)


@small
def test_bad_inputs_are_refused(name: str, arguments: dict[str, Any], smallest: int) -> None:
    network = build(name, **arguments)
    shown = name.replace('_', '-')
    refused: list[tuple[Tensor, str]] = [
        (torch.rand(3, 32, 32), f'{shown}: the input must be N x 3 x H x W, not 3 x 32 x 32'),
        (torch.rand(1, 4, 32, 32), f'{shown}: the input must be N x 3 x H x W, not 1 x 4 x 32 x 32'),
    ]
    for height, width in ((smallest - 1, 32), (32, smallest - 1)):
        refused.append((torch.rand(1, 3, height, width),
                        f'{shown}: the input must be {smallest}x{smallest} pixels at least, not {height}x{width}'))
    for x, message in refused:
        with pytest.raises(ValueError) as error:
            network(x)
        assert str(error.value) == message


@pytest.mark.parametrize(('name', 'arguments'), [('IMDN', dict(num_block=1)), ('BSRN', dict(num_block=1))], ids=case_id)
def test_a_flat_image_trains(name: str, arguments: dict[str, Any]) -> None:
    network = build(name, **arguments).train()
    network(torch.zeros(1, 3, 15, 15)).mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_contrast_of_a_constant_channel_has_a_gradient() -> None:
    x = torch.ones(1, 16, 1, 1, requires_grad=True)
    CCA(16)(x).sum().backward()
    assert x.grad.isfinite().all()


def test_rfdn_works_in_0_to_255() -> None:
    network = build('RFDN', num_block=1)
    seen = []
    network.fea_conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network.upsampler.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = torch.rand(1, 3, 15, 15)
    with torch.no_grad():
        y = network(x)
    torch.testing.assert_close(seen[0], x * 255)
    torch.testing.assert_close(seen[1], y * 255)


@pytest.mark.parametrize(('step', 'side'), list(zip(STEPS, (1, 9, 23, 23, 23))))
def test_what_an_attention_of_the_roadmap_sees(step: str, side: int) -> None:
    network = build('PixelAttentionRoadmap', step=step, num_feat=4, num_block=1)
    block = network.body[0]
    attention = block.atten_branch if step == 'v' else block.attention
    x = torch.rand(1, 4, 41, 41, requires_grad=True)
    attention(x)[..., 20, 20].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()
    assert (rows.min(), rows.max()) == (20 - side // 2, 20 + side // 2)


def test_authors_names_are_registered() -> None:
    from vapsr_arch.pipeline.registration import register
    register()
    from basicsr.archs import build_network
    for name in ('RFDNFINALB5', 'BSRN-S', 'BSRN_S'):
        options = dict(type=name, num_in_ch=3, num_feat=48, num_block=5, num_out_ch=3, upscale=4, conv='BSConvU')
        assert isinstance(build_network(options), NETWORKS['BSRN_S'])
