"""Models whose weights lie in a second file, because one protobuf message holds at most 2 GiB.

ONNX calls this external data (https://onnx.ai/onnx/repo-docs/ExternalData.html). The second file's name is in the first: both
keep theirs, in one folder. Here it is always ``NAME.onnx.data`` beside ``NAME.onnx``.
"""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from enginewright.errors import ActionError
from enginewright.model.onnx_format import canonical_bytes, check_model, parse_model

if TYPE_CHECKING:
    import onnx
    import onnx_ir

_CHUNK = 1 << 20


def read_with_data(path: Path, data: Path) -> onnx.ModelProto:
    """The model in ``path``, whose weights stay where they are, in ``data``.

    Raises ActionError when it is no ONNX model, or ``data`` is not what it asks for: of another name, cut off or, where the model
    has a checksum, with other bytes. ONNX's own checker is not run: it refuses links, which the inputs of an action are.
    """
    import onnx

    model = parse_model(path)
    size, checksums = data.stat().st_size, set()
    for weight in model.graph.initializer:
        if weight.data_location == onnx.TensorProto.EXTERNAL:
            _place(weight, path.name, data.name, size)
            checksums |= {entry.value.lower() for entry in weight.external_data if entry.key == "checksum"}
    if checksums and checksums != {_sha1(data)}:
        raise ActionError(f"{data.name} is not what {path.name} was written with: its SHA-1 is another. Build it again")
    return model


def read_typed(path: Path, data: Path) -> onnx.ModelProto:
    """A model with its weights, from ``data``, and the types and shapes of its inner tensors: it is too large to infer them later.

    ONNX's own reader takes no file that has a second name, as the store's files have. Raises ActionError where the model is not
    valid, or ``data`` is not what it says.
    """
    import onnx

    skeleton = onnx.load(path, load_external_data=False)
    _check(skeleton, path.name)
    model = onnx.shape_inference.infer_shapes(skeleton)
    size = data.stat().st_size
    with data.open("rb") as file:
        for weight in model.graph.initializer:
            if weight.data_location == onnx.TensorProto.EXTERNAL:
                place = _place(weight, path.name, data.name, size)
                file.seek(place.offset)
                weight.raw_data = file.read(place.length)
                weight.ClearField("data_location")
                del weight.external_data[:]
    return model


def write(model: onnx_ir.Model, path: Path, data: Path) -> None:
    """Write a model canonically, all weights but the smallest into ``data``, one after the other.

    Raises ActionError where it is not a valid one.
    """
    import onnx
    import onnx_ir

    data.touch()
    onnx_ir.save(model, path, format="protobuf", external_data=data.name)
    skeleton = onnx.load(path, load_external_data=False)
    path.write_bytes(canonical_bytes(skeleton))
    _check(skeleton, path.name)


class _Place(NamedTuple):
    offset: int
    length: int


def _place(weight: onnx.TensorProto, model: str, data: str, size: int) -> _Place:
    """Where a weight's bytes lie in a file of ``size`` bytes."""
    import onnx

    said = {each.key: each.value for each in weight.external_data}
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(weight.data_type)
        # Of the smallest types, of which NumPy has one in a byte, a file has as many as go into it.
        bits = next((bits for bits in (2, 4) if re.search(f"(int|float){bits}(_|$)", dtype.name)), 8 * dtype.itemsize)
        expected = -(-math.prod(weight.dims) * bits // 8)
        place = _Place(int(said.get("offset", 0)), int(said.get("length", expected)))
    except (KeyError, ValueError):
        place, expected = _Place(-1, 0), 0
    if place.offset < 0 or place.length != expected:
        raise ActionError(f"{model} is not a valid ONNX model: where the weight {weight.name} lies makes no sense: {said}")
    if said.get("location") != data:
        raise ActionError(f"{model}: the weight {weight.name} lies in {said.get('location')!r}, expected {data!r}")
    if place.offset + place.length > size:
        raise ActionError(
            f"{data} is truncated, or belongs to another model: {model} expects {expected} bytes of {weight.name} from {place.offset} on, "
            f"and it has {size} in all. Build it again"
        )
    return place


def _check(skeleton: onnx.ModelProto, name: str) -> None:
    """Check a model without its weights: those in another file stand in as inputs, of which the checker wants no bytes."""
    import onnx

    stand_in = onnx.ModelProto()
    stand_in.CopyFrom(skeleton)
    graph = stand_in.graph
    for i in reversed(range(len(graph.initializer))):
        weight = graph.initializer[i]
        if weight.data_location == onnx.TensorProto.EXTERNAL:
            graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
            del graph.initializer[i]
    check_model(stand_in, name)


def _sha1(path: Path) -> str:
    """What ONNX's "checksum" of external data is: the SHA-1 of the file, in hexadecimal."""
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
