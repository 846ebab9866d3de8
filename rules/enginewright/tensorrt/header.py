"""The header of an engine file of TensorRT-RTX, which can be read without a GPU. The format is not documented."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from enginewright.tensorrt.backend import RTX_CAPABILITIES

SIZE = 64
_MAGIC = b"vtrt"
_LAYOUT = "<4s12xQ4B4xQ16xQ"


class Header(NamedTuple):
    """What the first 64 bytes say: the length of the file, the version and the architectures it is for, and the bytes of weights
    at its end."""

    length: int
    version: str
    archs: tuple[str, ...]
    weight_bytes: int


def parse(start: bytes) -> Header | None:
    """The header of an engine that begins with ``start``; None for what TensorRT-RTX did not write.

    Little-endian: the magic ``vtrt`` at 0, the file's length at 16, the four parts of the version at 24, a mask of compute
    capabilities at 32, the size of the weights at 56. Nothing is known here of the files of TensorRT itself.
    """
    if len(start) < SIZE or not start.startswith(_MAGIC):
        return None
    _, length, *version, mask, weights = struct.unpack_from(_LAYOUT, start)
    archs = tuple(arch for arch, bit in RTX_CAPABILITIES.items() if mask & bit)
    return Header(length, ".".join(map(str, version)), archs, weights)


def read(engine: Path) -> Header | None:
    """The header of an engine file. Raises OSError."""
    with engine.open("rb") as file:
        return parse(file.read(SIZE))
