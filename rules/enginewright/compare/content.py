"""Files as bytes, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from enginewright.compare.verdict import NONE, NUMERICAL, SAME, Comparison, Finding, differing

_CHUNK = 1 << 20
_CLOSE = 1e-3, 1e-6
"""How far numbers in a report may be from each other, as a part of the larger, or absolutely, for the reports to say the same."""


def compare_bytes(first: Path, second: Path) -> Comparison:
    """Compare two files of which nothing is known."""
    findings = list(byte_differences(first, second))
    return differing(NONE, findings) if findings else SAME


def byte_differences(first: Path, second: Path, start: int = 0, end: int | None = None) -> Iterator[Finding]:
    """How many bytes differ between ``start`` and ``end``, and where the first of them is; nothing where none does."""
    import numpy as np

    sizes = first.stat().st_size, second.stat().st_size
    if end is None and sizes[0] != sizes[1]:
        yield Finding("size", f"{sizes[0]} -> {sizes[1]} bytes")
    stop = min(*sizes, *(() if end is None else (end,)))
    count, at = 0, -1
    with first.open("rb") as a, second.open("rb") as b:
        a.seek(start)
        b.seek(start)
        for offset in range(start, stop, _CHUNK):
            one, other = a.read(min(_CHUNK, stop - offset)), b.read(min(_CHUNK, stop - offset))
            if one != other:
                apart = np.flatnonzero(np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8))
                at = at if count else offset + int(apart[0])
                count += len(apart)
    if count:
        yield Finding(f"byte {at}", f"the first of {count} that differ" if count > 1 else "differs")


def compare_json(first: Path, second: Path, implied: Collection[str] = ()) -> Comparison:
    """Compare two JSON documents, value by value; as bytes where they are none.

    Values at the paths ``implied``, as ``engine.sha256``, follow from another output and do not count. Documents that differ in
    numbers that are close, and in nothing else, are `NUMERICAL`.
    """
    try:
        one, other = (json.loads(path.read_bytes()) for path in (first, second))
    except ValueError:
        return compare_bytes(first, second)
    found = list(_unlike("", one, other))
    if not found:
        return differing(NUMERICAL, byte_differences(first, second), "the documents say the same, and are written otherwise")
    counted = [each for each in found if each[0] not in implied]
    close = all(_close(a, b) for _, a, b in counted)
    basis = "numbers are within 0.1 %" if counted else "what differs follows from the other outputs"
    return differing(NUMERICAL if close else NONE, document_differences(one, other), basis if close else "")


def document_differences(one: Any, other: Any) -> Iterator[Finding]:
    """What differs between two values of JSON."""
    return (Finding(where, f"{_shown(a)} -> {_shown(b)}") for where, a, b in _unlike("", one, other))


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


def _unlike(where: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            yield from _unlike(f"{where}.{name}".removeprefix("."), one.get(name, _ABSENT), other.get(name, _ABSENT))
    elif isinstance(one, list) and isinstance(other, list):
        for i in range(max(len(one), len(other))):
            yield from _unlike(f"{where}[{i}]", *(side[i] if i < len(side) else _ABSENT for side in (one, other)))
    elif type(one) is not type(other) or one != other:
        yield where, one, other


def _close(one: Any, other: Any) -> bool:
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (one, other))
    return numbers and abs(one - other) <= max(_CLOSE[0] * max(abs(one), abs(other)), _CLOSE[1])


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, _Absent) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 90 else f"{text[:80]}... ({len(text)} characters)"
