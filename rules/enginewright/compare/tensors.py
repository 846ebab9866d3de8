"""Files of named arrays: safetensors, NumPy's .npz, and the initializers of an ONNX model."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginewright.compare.content import byte_differences
from enginewright.compare.verdict import NONE, NUMERICAL, Comparison, Finding, differing
from enginewright.model.tolerance import Tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEAR = Tolerance(max_rel=1e-3, cosine=0.9999)
"""How near tensors must be to mean the same, where the target does not declare it."""

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}

Arrays = Mapping[str, Callable[[], "NDArray[Any]"]]
"""Arrays by name, each read when it is asked for."""


def compare_safetensors(first: Path, second: Path) -> Comparison:
    """Compare two safetensors files, tensor by tensor. Raises ValueError where one of them is none."""
    return _compared(first, second, _safetensors(first), _safetensors(second))


def compare_npz(first: Path, second: Path) -> Comparison:
    """Compare two .npz files, array by array. Raises ValueError where one of them is none."""
    return _compared(first, second, _npz(first), _npz(second))


def _compared(first: Path, second: Path, one: Arrays, other: Arrays) -> Comparison:
    findings, near = array_differences("tensor", one, other)
    if not findings:
        return differing(NUMERICAL, byte_differences(first, second), "all tensors are the same; the file is written otherwise")
    return differing(NUMERICAL if near else NONE, findings, f"tensors are within {_words(NEAR)}" if near else "")


def array_differences(what: str, one: Arrays, other: Arrays) -> tuple[list[Finding], bool]:
    """What differs between two sets of arrays, and whether all of them are near each other."""
    from enginewright.model.parity import beyond, distance

    findings, near = [], True
    for name in sorted({*one, *other}):
        where = f"{what} {name}"
        if name not in one or name not in other:
            findings.append(Finding(where, "is only in the first" if name in one else "is only in the second"))
            near = False
            continue
        a, b = one[name](), other[name]()
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            findings.append(Finding(where, f"{a.dtype}{list(a.shape)} -> {b.dtype}{list(b.shape)}"))
            near = False
        elif a.tobytes() != b.tobytes():
            if a.dtype.kind not in "fiub":
                findings.append(Finding(where, f"{_text(a)} -> {_text(b)}"))
                near = False
                continue
            apart = distance(a, b)
            findings.append(Finding(where, f"{int((a != b).sum())} of {a.size} elements differ, by at most {apart.max_abs:.3g}"))
            near &= not list(beyond(apart, NEAR))
    return findings, near


def _text(array: NDArray[Any]) -> str:
    text = " ".join(str(array).split())
    return text if len(text) <= 60 else f"{text[:50]}..."


def _words(allowed: Tolerance) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in allowed.plain().items() if value is not None)


def _safetensors(path: Path) -> Arrays:
    """The tensors of a file, by the format of https://huggingface.co/docs/safetensors: a header's length, the header, the bytes."""
    import numpy as np

    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
        if length > path.stat().st_size:
            raise ValueError(f"{path.name} is no safetensors file")
        header = json.loads(file.read(length))

    def array(entry: Mapping[str, Any]) -> NDArray[Any]:
        begin, end = entry["data_offsets"]
        data = np.fromfile(path, np.uint8, end - begin, offset=8 + length + begin)
        if entry["dtype"] == "BF16":  # the upper half of a float32
            return (data.view("<u2").astype("<u4") << 16).view("<f4").reshape(entry["shape"])
        kind = _TYPES.get(entry["dtype"])
        return data.view(kind).reshape(entry["shape"]) if kind else data

    return {name: partial(array, entry) for name, entry in header.items() if name != "__metadata__"}


def _npz(path: Path) -> Arrays:
    import zipfile

    import numpy as np

    def array(name: str) -> NDArray[Any]:
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[name])

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: partial(array, name) for name in archive.files}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path.name} is no .npz file: {error}") from None
