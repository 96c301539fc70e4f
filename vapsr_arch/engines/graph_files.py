"""What an exported network's file says, looked at before a runtime reads it: inputs, outputs, metadata, external data."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vapsr_arch.errors import VapsrError

KEYS = ('scale', 'min_size', 'halo')  # of the metadata that is needed to run a model
_LARGEST = {'scale': 64, 'min_size': 512, 'halo': 2**20}
_MAX_XML = 2**27  # bytes
_MAX_MODEL = 2**31  # bytes, the limit of ONNX's own format


def check_graph(path: Path, runtime: str) -> None:
    """Checks a model that is to upscale images: one input, one output, and no data but its own and what lies beside it.

    Args:
        path: A file, `.onnx` or OpenVINO's `.xml`.
        runtime: What is to run it, for sentences.

    Raises:
        VapsrError: It is no model, or none that upscales images.
    """
    try:
        if path.suffix == '.xml':
            _check_xml(path)
        else:
            _check_onnx(path)
    except _Unfit as unfit:
        raise VapsrError(f'{path} is not a model that {runtime} can run: {unfit}') from None


class _Unfit(Exception):
    """Why a model cannot be run."""


def numbers_of(metadata: Mapping[str, str], name: str) -> tuple[int | None, int, int | None]:
    """Scale, smallest input and halo, by a model's metadata; None, 1 and None where it does not say them.

    Raises:
        VapsrError: It says what no network has.
    """
    if not all(key in metadata for key in KEYS):
        return None, 1, None
    numbers = {key: None if key == 'halo' and metadata[key] == 'whole image' else _number(metadata[key]) for key in KEYS}
    for key, value in numbers.items():
        known = value is not None or metadata[key] == 'whole image'
        if not known or not (key == 'halo' or value) or (value or 0) > _LARGEST[key]:
            raise VapsrError(f'{name}: its metadata is damaged: {key} is {metadata[key][:40]!r}')
    return numbers['scale'], numbers['min_size'], numbers['halo']


def _number(text: str) -> int | None:
    """A number that is not negative and has a sensible length; None for other texts."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None


def _check_onnx(path: Path) -> None:
    try:
        import google.protobuf.message
        import onnx
    except ModuleNotFoundError:
        raise _Unfit('to check it, onnx is needed: `pip install onnx`') from None
    try:
        if path.stat().st_size > _MAX_MODEL:
            raise _Unfit('it is larger than 2 GiB')
        model = onnx.load_model_from_string(path.read_bytes())
    except (google.protobuf.message.DecodeError, ValueError, OSError, RecursionError) as error:
        raise _Unfit(first_line(error)) from None
    graph = model.graph
    initial = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initial]
    if not graph.node or len(inputs) != 1 or len(graph.output) != 1:
        raise _Unfit(f'it has {len(graph.node)} nodes, {len(inputs)} inputs and {len(graph.output)} outputs, where one image '
                     f'goes in and one comes out')
    for value in (*inputs, *graph.output):
        if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            raise _Unfit(f'{value.name[:80]} is no tensor of float32')
    _check_external(model, path.parent)
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # the checker has several kinds, and so has the reader within it
        raise _Unfit(first_line(error)) from None


def _check_external(model: Any, folder: Path) -> None:
    """Checks that data outside the file lie under its folder, and are as long as the model says.

    Raises:
        _Unfit: They do not. Runtimes have names of their own for a process's memory, such as `*/_ORT_MEM_ADDR_/*`.
    """
    for tensor in _tensors(model):
        if tensor.data_location != tensor.EXTERNAL and not tensor.external_data:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get('location', '')
        plain = location and not set('*\\\0') & set(location) and not os.path.isabs(location)
        path = folder / location if plain else folder
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            raise _Unfit(f'its data should be in {location[:80]!r}, which is no file beside it')
        offset, length = (_number(entries.get(key, '0')) for key in ('offset', 'length'))
        if offset is None or length is None or offset + length > path.stat().st_size:
            raise _Unfit(f'{location[:80]} is shorter than it says')


def _tensors(model: Any) -> list[Any]:
    """All tensors of a model: weights, and those that nodes, graphs within nodes and functions hold."""
    found, graphs = [], [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        found.extend(getattr(graph, 'initializer', ()))
        for sparse in getattr(graph, 'sparse_initializer', ()):
            found.extend((sparse.values, sparse.indices))
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            found.extend((attribute.t, *attribute.tensors))
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                found.extend((sparse.values, sparse.indices))
            graphs.extend(graph for graph in (attribute.g, *attribute.graphs) if graph.node)
    return found


def _check_xml(path: Path) -> None:
    """The same for OpenVINO's files: the `.xml`, and the `.bin` beside it with the weights."""
    weights = path.with_suffix('.bin')
    try:
        if path.stat().st_size > _MAX_XML:
            raise _Unfit('it is far larger than that of a network')
        text = path.read_bytes()
        if b'<!' in text:  # OpenVINO writes no entities, which may grow without bound
            raise _Unfit('it has declarations')
        root = ElementTree.fromstring(text)
        size = weights.stat().st_size if weights.is_file() else 0
    except (ElementTree.ParseError, OSError, ValueError, LookupError, RecursionError) as error:
        raise _Unfit(first_line(error)) from None
    kinds = [layer.get('type') for layer in root.iterfind('./layers/layer')]
    inputs, outputs = kinds.count('Parameter'), kinds.count('Result')
    if (inputs, outputs) != (1, 1):
        raise _Unfit(f'it has {inputs} inputs and {outputs} outputs, where one image goes in and one comes out')
    for data in root.iterfind('.//layer[@type="Const"]/data'):
        offset, length = (_number(data.get(key, '')) for key in ('offset', 'size'))
        if offset is None or length is None or offset + length > size:
            raise _Unfit(f'{weights.name} beside it is shorter than it says, or missing')


def first_line(error: Exception) -> str:
    """The first line of an error that says something; OpenVINO says where in its source the error was first."""
    lines = str(error).strip().splitlines()
    return next((line for line in lines if not line.startswith('Exception from ')), lines[0] if lines else '')
