from typing_extensions import override

from spandrel.util import (
    KeyCondition,
    get_scale_and_output_channels,
    get_seq_len,
)

from ...__helpers.model_descriptor import Architecture, ImageModelDescriptor, StateDict
from .__arch.vapsr import VapSR


class VapSRArch(Architecture[VapSR]):
    def __init__(self) -> None:
        super().__init__(
            id="VapSR",
            detect=KeyCondition.has_all(
                "conv_first.weight",
                "body.0.proj_1.weight",
                "body.0.atten_branch.pointwise.weight",
                "body.0.atten_branch.depthwise.weight",
                "body.0.atten_branch.depthwise_dilated.weight",
                "body.0.proj_2.weight",
                "body.0.pixel_norm.weight",
                "conv_body.weight",
                "upsampler.0.weight",
                KeyCondition.has_any("upsampler.2.weight", "upsampler.3.weight"),
            ),
        )

    @override
    def load(self, state_dict: StateDict) -> ImageModelDescriptor[VapSR]:
        num_feat, num_in_ch = state_dict["conv_first.weight"].shape[:2]
        num_block = get_seq_len(state_dict, "body")
        d_atten = state_dict["body.0.proj_1.weight"].shape[0]
        conv_groups = num_feat // state_dict["conv_body.weight"].shape[1]

        if "upsampler.3.weight" in state_dict:  # two steps of PixelShuffle(2)
            scale = 4
            num_out_ch = state_dict["upsampler.3.weight"].shape[0] // 4
        else:
            scale, num_out_ch = get_scale_and_output_channels(
                state_dict["upsampler.2.weight"].shape[0], num_in_ch
            )

        model = VapSR(
            num_in_ch=num_in_ch,
            num_out_ch=num_out_ch,
            scale=scale,
            num_feat=num_feat,
            num_block=num_block,
            d_atten=d_atten,
            conv_groups=conv_groups,
        )

        return ImageModelDescriptor(
            model,
            state_dict,
            architecture=self,
            purpose="Restoration" if scale == 1 else "SR",
            tags=[f"{num_feat}nf", f"{num_block}nb"],
            supports_half=True,
            supports_bfloat16=True,
            scale=scale,
            input_channels=num_in_ch,
            output_channels=num_out_ch,
        )


__all__ = ["VapSR", "VapSRArch"]
