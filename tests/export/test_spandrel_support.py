"""The networks in spandrel: recognised by their weights, described rightly, and nothing else taken for one of them."""

import contextlib
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from torch import nn

from tests.conftest import REPOSITORY
from vapsr_arch.archs import NETWORKS
from vapsr_arch.weights.convert import convert
from vapsr_arch.weights.networks import build_network

spandrel = pytest.importorskip('spandrel')
from vapsr_arch.export.spandrel_support import install  # noqa: E402

SMALL = [
    *(('VapSR', dict(num_feat=8, num_block=2, d_atten=12, scale=scale)) for scale in (1, 2, 3, 4)),
    ('VapSR', dict(num_feat=8, num_block=1, d_atten=16, conv_groups=2, num_in_ch=1, num_out_ch=1)),
    ('VapSR', dict(num_feat=8, num_block=1, d_atten=16, num_in_ch=1)),
    *(('IMDN', dict(num_feat=16, num_block=2, scale=scale)) for scale in (2, 3, 4)),
    *(('RFDN', dict(num_feat=8, num_block=2, scale=scale)) for scale in (2, 4)),
    *(('BSRN', dict(num_feat=16, num_block=2, upscale=scale)) for scale in (2, 4)),
    *(('BSRN_S', dict(num_feat=8, num_block=2, upscale=scale)) for scale in (3, 4)),
    *(('PAN', dict(nf=8, unf=6, nb=2, scale=scale)) for scale in (2, 4)),
    ('PAN', dict(nf=8, unf=6, nb=2, in_nc=1, out_nc=3)),
    *(('PixelAttentionRoadmap', dict(num_feat=8, num_block=2, step=step)) for step in ('i', 'ii', 'iii', 'iv', 'v')),
]
ids = [' '.join([name, *map(str, arguments.values())]) for name, arguments in SMALL]
small = pytest.mark.parametrize(('name', 'arguments'), SMALL, ids=ids)


@pytest.fixture(scope='module')
def loader() -> spandrel.ModelLoader:
    registry = spandrel.MAIN_REGISTRY.copy()
    install(registry)
    return spandrel.ModelLoader(registry=registry)


@pytest.fixture(scope='module')
def own() -> dict[str, dict[str, torch.Tensor]]:
    """The weights of spandrel's own networks, as far as these are built without arguments and without memory."""
    weights = {}
    for support in spandrel.MAIN_REGISTRY:
        module = inspect.getmodule(type(support.architecture))
        for value in vars(module).values():
            if inspect.isclass(value) and issubclass(value, nn.Module):
                with contextlib.suppress(TypeError, RuntimeError), torch.device('meta'):
                    weights[value.__name__] = value().state_dict()
    return weights


def random_network(name: str, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name](**arguments).eval()


@small
def test_weights_determine_the_network(name: str, arguments: dict[str, Any], loader: spandrel.ModelLoader) -> None:
    network = random_network(name, **arguments)
    loaded = loader.load_from_state_dict(network.state_dict())
    image = torch.rand(1, network.num_in_ch, 16, 20)
    with torch.no_grad():
        expected = network(image).clamp(0, 1)
    assert loaded.architecture.id == name and str(loaded.model) == str(network)
    assert (loaded.scale, loaded.input_channels, loaded.output_channels) == (
        network.scale, network.num_in_ch, expected.shape[1])
    assert torch.equal(loaded(image), expected)
    assert loaded.purpose == ('SR' if network.scale > 1 else 'Restoration')
    assert loaded.tags == [f'{arguments.get("num_feat", arguments.get("nf"))}nf',
                           f'{arguments.get("num_block", arguments.get("nb"))}nb']


@small
def test_every_size_is_taken(name: str, arguments: dict[str, Any], loader: spandrel.ModelLoader) -> None:
    model = loader.load_from_state_dict(random_network(name, **arguments).state_dict())
    smallest = model.size_requirements.minimum
    for height, width in [(1, 1), (1, 40), (2, 3), (smallest, smallest), (smallest + 1, smallest + 6), (29, 31)]:
        output = model(torch.rand(1, model.input_channels, height, width))
        assert output.shape == (1, model.output_channels, height * model.scale, width * model.scale)
    if smallest > 1:
        with pytest.raises(ValueError, match='pixels at least'):
            model.model(torch.rand(1, model.input_channels, smallest, smallest - 1))


@pytest.mark.parametrize(('name', 'minimum', 'tiling', 'half'), [
    ('VapSR', 1, 'SUPPORTED', True), ('PAN', 1, 'SUPPORTED', True), ('IMDN', 1, 'DISCOURAGED', False),
    ('RFDN', 15, 'DISCOURAGED', True), ('BSRN', 15, 'DISCOURAGED', False), ('BSRN_S', 15, 'DISCOURAGED', True)])
def test_a_network_is_described(name: str, minimum: int, tiling: str, half: bool, loader: spandrel.ModelLoader) -> None:
    model = loader.load_from_state_dict(NETWORKS[name]().state_dict())
    assert model.size_requirements == spandrel.SizeRequirements(minimum=minimum)
    assert (model.tiling.name, model.supports_half, model.supports_bfloat16) == (tiling, half, True)


@pytest.mark.parametrize('wrapper', ['{}', 'params', 'params_ema', 'module', 'params module'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_files_load(wrapper: str, suffix: str, loader: spandrel.ModelLoader, tmp_path: Path) -> None:
    network = random_network('VapSR', num_feat=8, num_block=1, d_atten=16, scale=2)
    content = network.state_dict()
    if 'module' in wrapper:
        content = {f'module.{name}': tensor for name, tensor in content.items()}
    if 'params' in wrapper:
        content = {wrapper.split()[0]: content}
    path = tmp_path / 'net.pth'
    torch.save(content, path)
    if suffix == '.safetensors':
        path = tmp_path / 'net.safetensors'
        convert(tmp_path / 'net.pth', path)
    model = loader.load_from_file(path).model
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_the_ema_is_taken(loader: spandrel.ModelLoader) -> None:
    state_dict = random_network('VapSR', num_feat=8, num_block=1, d_atten=16).state_dict()
    ema = {name: tensor + 1 for name, tensor in state_dict.items()}
    model = loader.load_from_state_dict({'params': state_dict, 'params_ema': ema}).model
    assert torch.equal(model.conv_first.bias, ema['conv_first.bias'])


@pytest.mark.parametrize('checkpoint', [
    *(f'VapSR_X{scale}' for scale in (2, 3, 4)), 'VapSR-S', *(f'IMDN_x{scale}' for scale in (2, 3, 4)), 'RFDN_AIM',
    *(f'BSRN_x{scale}' for scale in (2, 3, 4)), 'BSRN-S', 'PANx2_DF2K', 'PANx3_DF2K', 'PANx4_DF2K'])
def test_the_authors_checkpoints_load(checkpoint: str, loader: spandrel.ModelLoader, reference: Path) -> None:
    path = reference / f'weights/{checkpoint}.pth'
    network, loaded = build_network(path), loader.load_from_file(path)
    assert type(loaded.model) is type(network) and loaded.scale == network.scale
    image = torch.rand(1, 3, 24, 17, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(image), network(image).clamp(0, 1))


@pytest.mark.parametrize('checkpoint', ['VapSR-S', 'IMDN_x4', 'RFDN_AIM', 'BSRN_x4', 'BSRN-S', 'PANx4_DF2K'])
def test_short_types_give_the_same_image(checkpoint: str, loader: spandrel.ModelLoader, reference: Path) -> None:
    image = cv2.imread(str(reference / 'data/Set5/LR_bicubic/X4/butterfly.png'))[16:32, 16:32, ::-1] / 255
    image = torch.from_numpy(image).float().permute(2, 0, 1)[None]
    model = loader.load_from_file(reference / f'weights/{checkpoint}.pth')
    full = model(image)
    for dtype, psnr in ((torch.float16, 60), (torch.bfloat16, 42)):
        if dtype == torch.bfloat16 or model.supports_half:
            short = loader.load_from_file(reference / f'weights/{checkpoint}.pth').to(dtype)(image.to(dtype))
            assert short.dtype == dtype
            assert -10 * (short.float() - full).square().mean().log10() > psnr


@pytest.mark.parametrize('name', ['IMDN', 'BSRN'])
def test_networks_whose_contrast_overflows_refuse_half(name: str, loader: spandrel.ModelLoader) -> None:
    model = loader.load_from_state_dict(NETWORKS[name]().state_dict())
    with pytest.raises(spandrel.UnsupportedDtypeError):
        model.half()


def test_spandrels_own_networks_are_left_to_it(own: dict[str, dict[str, torch.Tensor]],
                                               loader: spandrel.ModelLoader) -> None:
    assert len(own) > 20
    for network, state_dict in own.items():
        assert not [name for name in NETWORKS if loader.registry[name].detect(state_dict)], network
    order = loader.registry.architectures('detection')
    assert order[:-len(NETWORKS)] == spandrel.MAIN_REGISTRY.architectures('detection')


@small
def test_none_of_spandrels_own_takes_the_networks(name: str, arguments: dict[str, Any],
                                                  loader: spandrel.ModelLoader) -> None:
    state_dict = random_network(name, **arguments).state_dict()
    claims = [support.architecture.id for support in loader.registry if support.detect(state_dict)]
    assert claims == [name]


@pytest.mark.parametrize(('weight', 'shape'), [
    ('more', (1,)), ('conv_first.bias', (9,)), ('conv_body.weight', (8, 3, 3, 3)), ('upsampler.2.weight', (2, 56, 3, 3))])
def test_weights_that_only_resemble_a_network_are_refused(weight: str, shape: tuple[int, ...],
                                                         loader: spandrel.ModelLoader) -> None:
    state_dict = random_network('VapSR', num_feat=8, num_block=1, d_atten=16, scale=2).state_dict()
    state_dict[weight] = torch.ones(shape)
    with pytest.raises(spandrel.UnsupportedModelError):
        loader.load_from_state_dict(state_dict)


def test_unknown_weights_are_refused_as_before(loader: spandrel.ModelLoader) -> None:
    with pytest.raises(spandrel.UnsupportedModelError):
        loader.load_from_state_dict(nn.Conv2d(3, 3, 1).state_dict())


def test_install_reaches_every_loader_and_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(spandrel.MAIN_REGISTRY)
    for attribute in ('_architectures', '_ordered', '_by_id'):  # copied on write: given back after the test
        monkeypatch.setattr(spandrel.MAIN_REGISTRY, attribute, getattr(spandrel.MAIN_REGISTRY, attribute))
    install()
    install()
    assert len(spandrel.MAIN_REGISTRY) == before + len(NETWORKS)
    loaded = spandrel.ModelLoader().load_from_state_dict(random_network('PAN', nf=8, unf=6, nb=1).state_dict())
    assert loaded.architecture.name == 'PAN'


def test_an_architecture_of_the_same_id_stays() -> None:
    class Other(spandrel.Architecture):
        def load(self, state_dict: spandrel.StateDict) -> None:
            pass

    registry = spandrel.ArchRegistry()
    other = spandrel.ArchSupport.from_architecture(Other(id='PAN', detect=lambda state_dict: True))
    registry.add(other)
    install(registry)
    assert registry['PAN'] is other and 'VapSR' in registry


def test_the_two_lines_suffice_in_a_new_process(tmp_path: Path) -> None:
    """Neither needs BasicSR, whose import repairs torchvision's for everything else here."""
    torch.save(NETWORKS['VapSR'](num_feat=8, num_block=1, d_atten=16).state_dict(), tmp_path / 'net.pth')
    lines = ('from vapsr_arch.export import spandrel_support; spandrel_support.install(); import spandrel, sys; '
             'print(spandrel.ModelLoader().load_from_file("net.pth").architecture.name, "basicsr" in sys.modules)')
    done = subprocess.run([sys.executable, '-c', lines], cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(REPOSITORY)},
                          capture_output=True, text=True)
    assert done.stdout == 'VapSR False\n', done.stderr


@pytest.fixture
def contributed(monkeypatch: pytest.MonkeyPatch) -> spandrel.Architecture:
    """The architecture of `tools/spandrel`, where a pull request would put it."""
    folder = REPOSITORY / 'tools/spandrel/libs/spandrel/spandrel/architectures'
    monkeypatch.setattr(spandrel.architectures, '__path__', [*spandrel.architectures.__path__, str(folder)])
    return importlib.import_module('spandrel.architectures.VapSR').VapSRArch()


@pytest.mark.parametrize(('name', 'arguments'), SMALL, ids=ids)
def test_the_contribution_to_spandrel_agrees(name: str, arguments: dict[str, Any], contributed: spandrel.Architecture) -> None:
    """It detects VapSR, and nothing else, and computes the same with torch alone."""
    network = random_network(name, **arguments)
    assert contributed.detect(network.state_dict()) == (name == 'VapSR')
    if name != 'VapSR':
        return
    loaded = contributed.load(network.state_dict())
    image = torch.rand(1, network.num_in_ch, 16, 20)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model.eval()(image), network(image), rtol=1e-5, atol=1e-5)
    assert loaded.scale == network.scale and loaded.purpose == ('SR' if network.scale > 1 else 'Restoration')


def test_the_contribution_takes_no_network_of_spandrel(contributed: spandrel.Architecture, own: dict[str, dict]) -> None:
    assert len(own) > 20 and not [name for name, weights in own.items() if contributed.detect(weights)]
