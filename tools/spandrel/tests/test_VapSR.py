from spandrel.architectures.VapSR import VapSR, VapSRArch

from .util import (
    ModelFile,
    TestImage,
    assert_image_inference,
    assert_loads_correctly,
    assert_size_requirements,
    disallowed_props,
)

WEIGHTS = "https://github.com/zhoumumu/VapSR/raw/main/"


def test_load():
    assert_loads_correctly(
        VapSRArch(),
        lambda: VapSR(),
        lambda: VapSR(scale=1),
        lambda: VapSR(scale=2),
        lambda: VapSR(scale=3),
        lambda: VapSR(scale=8),
        lambda: VapSR(num_in_ch=1, num_out_ch=1),
        lambda: VapSR(num_in_ch=1, num_out_ch=1, scale=2),
        lambda: VapSR(num_in_ch=1, num_out_ch=3),
        lambda: VapSR(num_feat=48, num_block=21),
        lambda: VapSR(num_feat=32, num_block=11, conv_groups=2),
        lambda: VapSR(d_atten=96),
    )


def test_size_requirements():
    file = ModelFile.from_url(WEIGHTS + "VapSR-S.pth")
    assert_size_requirements(file.load_model())


def test_VapSR_X4(snapshot):
    file = ModelFile.from_url(WEIGHTS + "VapSR_X4.pth")
    model = file.load_model()
    assert model == snapshot(exclude=disallowed_props)
    assert isinstance(model.model, VapSR)
    assert_image_inference(
        file,
        model,
        [TestImage.SR_16, TestImage.SR_32, TestImage.SR_64],
    )


def test_VapSR_X2(snapshot):
    file = ModelFile.from_url(WEIGHTS + "VapSR_X2.pth")
    model = file.load_model()
    assert model == snapshot(exclude=disallowed_props)
    assert isinstance(model.model, VapSR)
    assert_image_inference(
        file,
        model,
        [TestImage.SR_16, TestImage.SR_32, TestImage.SR_64],
    )
