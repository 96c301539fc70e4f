"""Networks as files for other programs."""

import io
import warnings

import onnx
import torch
from torch import nn

OPSET = 20  # the first with Gelu as one operator


def onnx_model(network: nn.Module) -> bytes:
    """A network as an ONNX model with dynamic batch, height and width.

    The older of torch's exporters, which traces: it makes the same graph as the newer in a twentieth of the time, and does
    not need onnxscript.

    Args:
        network: One of `NETWORKS`.
    """
    buffer = io.BytesIO()
    side = max(network.min_size, 24)
    image = torch.rand(2, network.num_in_ch, side, side + 8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the checks of the input's size, which the trace leaves out
        torch.onnx.export(network, (image,), buffer, dynamo=False, opset_version=OPSET, input_names=['image'],
                          output_names=['enlarged'], dynamic_axes={
                              'image': {0: 'batch', 2: 'height', 3: 'width'},
                              'enlarged': {0: 'batch', 2: 'enlarged_height', 3: 'enlarged_width'}})
    model = onnx.load_model_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, {
        'network': type(network).__name__, 'num_in_ch': str(network.num_in_ch), 'scale': str(network.scale),
        'min_size': str(network.min_size), 'halo': 'whole image' if network.halo is None else str(network.halo)})
    return model.SerializeToString()
