"""The canonical encoding of plain values: equal values give equal bytes, different values different bytes.

Every value is a type tag, and what has a length is preceded by it in decimal, as in netstrings, so no two values share an
encoding and none is a prefix of another. Mappings are encoded in the order of their keys; where order means nothing in a
list, the caller sorts it. ``1``, ``1.0`` and ``True`` are three values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from enginewright.graph.action import Value


def encode(value: Value) -> bytes:
    """The bytes of ``value``. Raises TypeError for anything that is not a `Value` (a set, say, or an infinity)."""
    out: list[bytes] = []
    _encode(value, out)
    return b"".join(out)


def _encode(value: Value, out: list[bytes]) -> None:
    if value is None:
        out.append(b"n")
    elif value is True:
        out.append(b"t")
    elif value is False:
        out.append(b"f")
    elif isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        out.append(b"s%d:" % len(data) + data)
    elif isinstance(value, int):
        out.append(b"i%d;" % value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            # A NaN equals nothing, itself included, and JSON, in which records are kept and parameters travel, has neither.
            raise TypeError(f"{value} cannot be part of a key: it is no finite number")
        out.append(b"d" + value.hex().encode() + b";")
    elif isinstance(value, (tuple, list)):
        out.append(b"l%d:" % len(value))
        for item in value:
            _encode(item, out)
    elif isinstance(value, Mapping):
        mapping = cast(Mapping[object, Value], value)
        out.append(b"m%d:" % len(mapping))
        for key in mapping:
            if not isinstance(key, str):
                raise TypeError(f"a mapping in a key needs strings as keys, not {key!r}")
        for key in sorted(mapping):  # type: ignore[type-var]
            _encode(cast(str, key), out)
            _encode(mapping[key], out)
    else:
        raise TypeError(f"{type(value).__name__} cannot be part of a key: {value!r}")
