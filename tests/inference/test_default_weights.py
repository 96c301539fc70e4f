"""Which of the shipped weights an image is upscaled with."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import Finished, photograph
from vapsr_arch.archs import NETWORKS
from vapsr_arch.data.image_files import read_image
from vapsr_arch.data.image_formats import is_lossy
from vapsr_arch.errors import VapsrError
from vapsr_arch.inference.upscaler import Upscaler
from vapsr_arch.weights import names


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts weights of tiny networks in place of those that are shipped."""
    monkeypatch.chdir(tmp_path)
    folder = Path('experiments/pretrained_models')
    monkeypatch.setattr(names, '_FOLDERS', (folder,))
    folder.mkdir(parents=True)

    def ship(*stems: str) -> None:
        for seed, stem in enumerate(stems):
            torch.manual_seed(seed)
            network = NETWORKS['VapSR'](scale=int(stem[9]), num_feat=8, num_block=1, d_atten=16)
            torch.save(network.state_dict(), folder / f'{stem}.pth')
    return ship


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photograph(12, 16, 0)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(('content', 'lossy'), [
    (encoded('jpeg'), True),
    (encoded('webp', quality=80), True),
    (encoded('webp', lossless=True), False),
    (encoded('webp', quality=80, exif=b'Exif\0\0II*\0\x08\0\0\0\0\0', icc_profile=b'odd'), True),  # the extended format
    (encoded('webp', lossless=True, icc_profile=b'an ICC profile'), False),
    (encoded('png'), False),
    (encoded('webp')[:14], False),
    (b'', False)])
def test_loss_is_recognised_by_content(content: bytes, lossy: bool, tmp_path: Path) -> None:
    path = tmp_path / 'image.png'
    path.write_bytes(content)
    assert is_lossy(path) is lossy
    assert not is_lossy(tmp_path / 'none.jpg')


def test_a_lossy_webp_with_alpha_is_lossy(tmp_path: Path) -> None:
    """Its alpha lies in a chunk before the colours."""
    rgba = np.dstack([photograph(12, 16, 0), photograph(12, 16, 1)[..., 0]])
    Image.fromarray(rgba).save(tmp_path / 'a.webp', quality=80)
    Image.fromarray(rgba).save(tmp_path / 'b.webp', lossless=True)
    assert is_lossy(tmp_path / 'a.webp') and not is_lossy(tmp_path / 'b.webp')


@pytest.fixture
def images(shipped: Callable[..., None]) -> None:
    """In `in`: a PNG, a JPEG, a JPEG with the name of a PNG, and a lossless WebP."""
    Path('in').mkdir()
    for name, kind, options in (('a.png', 'png', {}), ('b.jpg', 'jpeg', {}), ('c.png', 'jpeg', {}),
                                ('d.webp', 'webp', {'lossless': True})):
        Path('in', name).write_bytes(encoded(kind, **options))


def by(name: str, image: str) -> np.ndarray:
    return Upscaler(f'experiments/pretrained_models/{name}.pth', device='cpu')(read_image(f'in/{image}').pixels)


@pytest.mark.parametrize(('arguments', 'scale'), [((), 4), (('-s', '2'), 2)])
def test_the_weights_suit_the_image(arguments: tuple[str, ...], scale: int, images: None, shipped: Callable[..., None],
                                    vapsr: Callable[..., Finished]) -> None:
    shipped('VapSR-S_x4', 'VapSR-S_x4_photo', 'VapSR-S_x2', 'VapSR-S_x2_photo')
    result = vapsr('upscale', 'in', '-o', 'out', '--format', 'png', '--device', 'cpu', *arguments)
    assert result.code == 0, result.err
    assert f'weights: VapSR-S_x{scale} for 2 images, VapSR-S_x{scale}_photo for 2 images (JPEG, lossy WebP)\n' in result.err
    for name, suffix in (('a.png', ''), ('b.jpg', '_photo'), ('c.png', '_photo'), ('d.webp', '')):
        written = read_image(Path('out', name).with_suffix('.png')).pixels
        assert np.array_equal(written, by(f'VapSR-S_x{scale}{suffix}', name)), name


def test_weights_that_are_named_are_used_for_all(images: None, shipped: Callable[..., None],
                                                 vapsr: Callable[..., Finished]) -> None:
    shipped('VapSR-S_x4', 'VapSR-S_x4_photo')
    result = vapsr('upscale', 'in/b.jpg', '-o', 'b.png', '--weights', 'VapSR-S_x4', '--device', 'cpu')
    assert result.code == 0 and 'weights:' not in result.err
    assert np.array_equal(read_image('b.png').pixels, by('VapSR-S_x4', 'b.jpg'))


def test_without_photo_weights_the_clean_ones_are_used_and_that_is_said(images: None, shipped: Callable[..., None],
                                                                        vapsr: Callable[..., Finished]) -> None:
    shipped('VapSR-S_x3', 'VapSR-S_x4_photo')
    result = vapsr('upscale', 'in', '-o', 'out', '--scale', '3', '--device', 'cpu')
    assert result.code == 0 and result.err.startswith(
        'weights: VapSR-S_x3 for 4 images; 2 of JPEG or lossy WebP, for which no photo weights are shipped\n')


def test_which_weights_of_a_file_are_taken_is_said_of_a_users_file_alone(images: None, shipped: Callable[..., None],
                                                                         vapsr: Callable[..., Finished]) -> None:
    shipped('VapSR-S_x4')
    path = Path('experiments/pretrained_models/VapSR-S_x4.pth')
    state = torch.load(path)
    torch.save({'params': dict(state), 'params_ema': dict(state)}, path)
    torch.save({'params': dict(state), 'params_ema': dict(state)}, 'mine.pth')
    for number, arguments in enumerate(((), ('--weights', 'VapSR-S_x4'), ('--weights', str(path)), ('--weights', 'mine.pth'))):
        result = vapsr('upscale', 'in/a.png', '-o', f'{number}.png', '--device', 'cpu', *arguments)
        assert result.code == 0, result.err
        said = 'mine.pth: its weights, key params_ema, are taken, not those of params\n'
        assert result.err.count('are taken') == result.err.count(said) == ('mine.pth' in arguments)


def test_a_scale_without_weights_is_one_sentence(images: None, shipped: Callable[..., None],
                                                 vapsr: Callable[..., Finished]) -> None:
    shipped('VapSR-S_x2', 'VapSR-S_x4')
    result = vapsr('upscale', 'in', '-o', 'out', '-s', '3')
    assert (result.code, result.err) == (1, 'Error: no weights for x3 are shipped, only VapSR-S_x2, VapSR-S_x4: take another '
                                            'scale, or name weights of your own (--weights)\n')
    assert not Path('out').exists()


def test_an_upscaler_takes_the_clean_weights_of_its_scale(shipped: Callable[..., None]) -> None:
    shipped('VapSR-S_x2', 'VapSR-S_x2_photo', 'VapSR-S_x4')
    image = photograph(10, 12, 0)
    for scale in (2, 4):
        named = Upscaler(f'VapSR-S_x{scale}', device='cpu')
        assert np.array_equal(Upscaler(scale=scale, device='cpu')(image), named(image))
    assert Upscaler(device='cpu').scale == 4
    with pytest.raises(VapsrError, match='no weights for x3 are shipped, only VapSR-S_x2, VapSR-S_x2_photo, VapSR-S_x4: '):
        Upscaler(scale=3)
