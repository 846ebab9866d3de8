"""Writes bbolt databases, such as Trivy's, for tests: https://github.com/etcd-io/bbolt, page.go, bucket.go and db.go of version 2.

A bucket is a leaf page with as many overflow pages as it needs; all keys of it, sorted, are in that one page.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Bucket: TypeAlias = "Mapping[str, bytes | Bucket]"

_PAGE = 4096
_HEADER = struct.Struct("<QHHI")  # id, flags, count, overflow
_ELEMENT = struct.Struct("<IIII")  # flags, position of the key from here, length of key and of value
_LEAF, _META, _FREELIST = 0x02, 0x04, 0x10
_IS_BUCKET = 0x01


def write_bolt(path: Path, root: Bucket) -> None:
    """Write a database whose top-level buckets are those of ``root``."""
    pages: dict[int, bytes] = {2: _page(2, _FREELIST, 0, b"")}
    top = _write_bucket(root, pages)
    end = 1 + max(number + len(data) // _PAGE - 1 for number, data in pages.items())
    for number in (0, 1):
        body = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, _PAGE, 0, top, 0, 2, end, number)
        pages[number] = _page(number, _META, 0, body + struct.pack("<Q", _fnv1a(body)))
    path.write_bytes(b"".join(data for _, data in sorted(pages.items())))


def _write_bucket(bucket: Bucket, pages: dict[int, bytes]) -> int:
    """Add the pages of a bucket, those of the buckets in it first, and return the number of its own."""
    items = []
    for key, value in sorted((key.encode(), value) for key, value in bucket.items()):
        if isinstance(value, bytes):
            items.append((0, key, value))
        else:
            items.append((_IS_BUCKET, key, struct.pack("<QQ", _write_bucket(value, pages), 0)))
    number = max(each + len(data) // _PAGE for each, data in pages.items())
    number = max(number, 3)
    elements, data = b"", b""
    for i, (flags, key, value) in enumerate(items):
        position = (len(items) - i) * _ELEMENT.size + len(data)
        elements += _ELEMENT.pack(flags, position, len(key), len(value))
        data += key + value
    pages[number] = _page(number, _LEAF, len(items), elements + data)
    return number


def _page(number: int, flags: int, count: int, body: bytes) -> bytes:
    size = -(-(_HEADER.size + len(body)) // _PAGE) * _PAGE
    return (_HEADER.pack(number, flags, count, size // _PAGE - 1) + body).ljust(size, b"\0")


def _fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value
