"""`vapsr export`."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vapsr_arch.cli.network_options import OptFile, ParamKey, checkpoint_of, described_network
from vapsr_arch.cli.pipeline_options import Plugins
from vapsr_arch.errors import OptionsError, VapsrError

if TYPE_CHECKING:
    from torch import nn


def export(
    weights: Annotated[str | None, typer.Argument(metavar='[WEIGHTS]', show_default=False, help='A checkpoint, or the name of '
                                                  'one; may be left out with --opt.')] = None,
    out: Annotated[Path | None, typer.Option('-o', '--out', metavar='FILE.onnx', help='The ONNX file.')] = None,
    openvino: Annotated[Path | None, typer.Option(metavar='DIR', help="Write OpenVINO's files, too, named as the weights "
                                                  'are.')] = None,
    ncnn: Annotated[Path | None, typer.Option(metavar='DIR', help="Write ncnn's files, too, for Upscayl and "
                                              'realesrgan-ncnn-vulkan; weights are stored in fp16.')] = None,
    torch_export: Annotated[Path | None, typer.Option(metavar='FILE.pt2', help='Write a file of torch.export, too.')] = None,
    fp16: Annotated[bool, typer.Option('--fp16', help='Compute in fp16 inside the ONNX file; store the weights in fp16 in '
                                       "OpenVINO's. Images stay float32.")] = False,
    int8: Annotated[bool, typer.Option('--int8', help="Convolutions in int8, in the ONNX file and in OpenVINO's; images stay "
                                       'float32.')] = False,
    calibration: Annotated[Path | None, typer.Option(metavar='FOLDER', help='Images that --int8 is calibrated on; by default '
                                                     'photographs of scikit-image.')] = None,
    opset: Annotated[int, typer.Option(min=13, max=20, metavar='N', help="The version of the ONNX file's operators, 13 to 20: "
                                       'older ones for programs that do not know the newest (docs/export.md).')] = 20,
    scale: Annotated[int | None, typer.Option(metavar='N', help='The scale, where the weights do not determine it.')] = None,
    param_key: ParamKey = None,
    opt: OptFile = None,
    plugin: Plugins = None,
    force: Annotated[bool, typer.Option('--force', help='Overwrite existing files.')] = False,
) -> None:
    """Write a network for other programs; batch, height and width are dynamic, and each file is compared with torch first."""
    if not (out or openvino or ncnn or torch_export):
        raise OptionsError('nothing to write: give -o FILE.onnx, --openvino DIR, --ncnn DIR or --torch-export FILE.pt2')
    for path, suffix in ((out, '.onnx'), (torch_export, '.pt2')):
        if path and path.suffix != suffix:
            raise OptionsError(f'{path}: the name must end in {suffix}')
    if int8 and (fp16 or not (out or openvino)):
        raise OptionsError('--int8 is for -o FILE.onnx and --openvino DIR, without --fp16')
    if calibration and not int8:
        raise OptionsError('--calibration is for --int8')
    if weights is None and opt is None:
        raise OptionsError('no network to export: give WEIGHTS, or --opt FILE')
    from vapsr_arch.weights.names import find_weights
    source = find_weights(weights or checkpoint_of(opt))
    folder_file = openvino and openvino / f'{source.stem}.xml'
    if not force:
        _check_free(out, folder_file, folder_file and folder_file.with_suffix('.bin'), torch_export)
    needed = ['onnx', 'onnxruntime'] * bool(out or int8) + ['onnx', 'openvino'] * bool(openvino)
    missing = [name for name in dict.fromkeys(needed) if importlib.util.find_spec(name) is None]
    if missing:
        raise VapsrError(f'this export needs {" and ".join(missing)}: `pip install {" ".join(missing)}`, or install this package '
                         f'with the extra [export]')
    if ncnn and not all(map(importlib.util.find_spec, ('ncnn', 'pnnx'))):
        raise VapsrError("--ncnn needs ncnn and pnnx: `pip install 'vapsr_arch[ncnn]'`, or `pip install ncnn pnnx`")

    if source.suffix == '.onnx':
        raise VapsrError(f'{source} is an ONNX file already: give the checkpoint')
    from vapsr_arch.engines.graphs import metadata
    from vapsr_arch.export import files as exports
    from vapsr_arch.export import ncnn_files
    from vapsr_arch.weights.networks import build_network
    network = described_network(str(source), opt, plugin, scale, param_key, print) \
        or build_network(source, scale, param_key, log=print)
    param = ncnn and ncnn / f'{ncnn_files.ncnn_name(source.stem, network.scale)}.param'
    if param and not force:
        _check_free(param, param.with_suffix('.bin'))
    facts = metadata(network, source, 'int8' if int8 else 'fp16' if fp16 else 'fp32')
    if int8:
        _export_int8(network, facts, calibration, out, folder_file, opset)
    else:
        if out:
            print(f'{out}: within {exports.export_onnx(network, out, facts, fp16, opset):.1e} of torch')
        if folder_file:
            print(f'{folder_file}: within {exports.export_openvino(network, folder_file, facts, fp16):.1e} of torch')
    if param:
        difference, approximation = ncnn_files.export_ncnn(network, param)
        print(f'{param}: within {difference:.1e} of torch' + (
            f', with the approximation of GELU that GPUs take within {approximation:.1e}' if approximation is not None else ''))
    if torch_export:
        facts['precision'] = 'fp32'
        print(f'{torch_export}: within {exports.export_torch(network, torch_export, facts):.1e} of torch')


def _export_int8(network: 'nn.Module', facts: Mapping[str, str], calibration: Path | None, out: Path | None,
                 folder_file: Path | None, opset: int) -> None:
    from vapsr_arch.export import int8
    crops = int8.calibration_crops(calibration, network)
    if out:
        print(f'{out}: in int8, {int8.export_onnx_int8(network, out, facts, crops, opset):.1f} dB from torch')
    if folder_file:
        print(f'{folder_file}: in int8, {int8.export_openvino_int8(network, folder_file, facts, crops):.1f} dB from torch')


def _check_free(*paths: Path | None) -> None:
    """Raises VapsrError where one of the files exists."""
    there = [path for path in paths if path and path.exists()]
    if there:
        raise VapsrError(f'{" and ".join(map(str, there))} exists: choose another name, or add --force to replace it')
