"""ONNX models over 2 GB: the weights lie in a second file, ``NAME.onnx.data``, which the first one names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from enginewright.errors import ActionError
from enginewright.model.onnx_format import parse_model

if TYPE_CHECKING:
    import onnx

_CHUNK = 1 << 20


def read_with_data(path: Path, data: Path) -> onnx.ModelProto:
    """The model in ``path``, whose weights stay where they are, in ``data``.

    Raises ActionError when it is no ONNX model, or ``data`` is not what it asks for: of another name, cut off or, where the model
    has a checksum, with other bytes. ONNX's own checker is not run: it refuses links, which the inputs of an action are.
    """
    model = parse_model(path)
    size, checksums = data.stat().st_size, set()
    for weight, entries in _external(model):
        location = entries.get("location", "")
        if location != data.name:
            raise ActionError(f"{path.name} has its weight {weight.name} in {location!r}, and there is only {data.name}")
        end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
        if end > size:
            where = f"{path.name} has the weight {weight.name} up to byte {end} of it"
            raise ActionError(f"{data.name} is cut off: {where}, and it has {size}. Build it again")
        checksums |= {entries["checksum"].lower()} if "checksum" in entries else set()
    if checksums and checksums != {_sha1(data)}:
        raise ActionError(f"{data.name} is not what {path.name} was written with: its SHA-1 is another. Build it again")
    return model


def _external(model: onnx.ModelProto) -> Iterator[tuple[onnx.TensorProto, dict[str, str]]]:
    import onnx

    for weight in model.graph.initializer:
        if weight.data_location == onnx.TensorProto.EXTERNAL:
            yield weight, {entry.key: entry.value for entry in weight.external_data}


def _sha1(path: Path) -> str:
    """What ONNX's "checksum" of external data is: the SHA-1 of the file, in hexadecimal."""
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
