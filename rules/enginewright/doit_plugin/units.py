"""Sizes and ages as people write them, and what others wrote as people can read it."""

from __future__ import annotations

import re

_BYTES = {"": 1, "b": 1} | {
    unit: base**power
    for power, letter in enumerate("kmgtp", 1)
    for base, units in ((1000, (letter, f"{letter}b")), (1024, (f"{letter}i", f"{letter}ib")))
    for unit in units
}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def read_size(text: str) -> int:
    """Bytes: ``20GB`` (of 1000), ``20GiB`` (of 1024), ``1.5 TB``, ``4096``. Raises ValueError, saying what is expected."""
    return int(_read(text, _BYTES, "a size, such as 20GB, 500MB or 1.5TiB"))


def read_age(text: str) -> float:
    """Seconds: ``30d``, ``12h``, ``2w``, ``90m``, ``45s``. Raises ValueError, saying what is expected."""
    return _read(text, _SECONDS, "an age, such as 30d, 12h or 2w")


def show_size(count: int) -> str:
    """Bytes with a unit of 1000: ``1.5 GB``."""
    size, unit = float(count), ""
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if size < 999.5 or unit == "PB":
            break
        size /= 1000
    return f"{count} {'byte' if count == 1 else 'bytes'}" if unit == "bytes" else f"{size:.3g} {unit}"


def printable(text: str) -> str:
    """A line with what would do something to a terminal, or is no character, as it is written in Python: an image may say anything."""
    return "".join(each if each.isprintable() else _escaped(ord(each)) for each in text)


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return chr(code).encode("unicode_escape").decode()


def _read(text: str, units: dict[str, int], expected: str) -> float:
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]+)?) ?([A-Za-z]*)", text.strip())
    if match is None or match[2].lower() not in units:
        raise ValueError(f"expected {expected}, got {text!r}")
    return float(match[1]) * units[match[2].lower()]
