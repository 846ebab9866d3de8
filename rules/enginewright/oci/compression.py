"""How layers are compressed: not at all, with gzip, or with zstd; and blobs that are hashed while they are written.

One thread compresses, so that the same bytes give the same blob: with several, zstd cuts its input where they happen to meet.
gzip is RFC 1952 (https://www.rfc-editor.org/rfc/rfc1952) by ISA-L, with no time and no name in its header; zstd is RFC 8878
(https://www.rfc-editor.org/rfc/rfc8878).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

CHUNK = 1 << 20
"""Bytes from which hashing is worth a thread of its own, and of one read."""


class Compression(NamedTuple):
    """A codec and its level; 0 for ``none``, which has no levels."""

    codec: str
    level: int

    def __str__(self) -> str:
        return f"{self.codec}:{self.level}" if self.level or self.codec == "gzip" else self.codec


class _Codec(NamedTuple):
    """``default`` and ``most`` are levels; ``packages`` are the distributions that compressing takes."""

    suffix: str
    media_type: str
    packages: tuple[str, ...]
    default: int
    least: int
    most: int


# The levels that are fastest for what engines and weights are: hard to compress.
CODECS: Mapping[str, _Codec] = {
    "none": _Codec("", "application/vnd.oci.image.layer.v1.tar", (), 0, 0, 0),
    "gzip": _Codec(".gz", "application/vnd.oci.image.layer.v1.tar+gzip", ("isal",), 1, 0, 3),
    "zstd": _Codec(".zst", "application/vnd.oci.image.layer.v1.tar+zstd", ("zstandard",), 1, 1, 22),
}


def parse_compression(text: str) -> Compression:
    """Read ``CODEC`` or ``CODEC:LEVEL``, as ``zstd:9``. Raises ValueError, saying what there is."""
    codec, colon, level = text.partition(":")
    known = CODECS.get(codec)
    if known is None or (colon and not (codec != "none" and level.isdecimal() and known.least <= int(level) <= known.most)):
        levels = (f"{name}, {name}:{each.least} to {name}:{each.most}" for name, each in CODECS.items() if name != "none")
        raise ValueError(f"{text!r} is no compression of layers: there are none, {', '.join(levels)}")
    return Compression(codec, int(level) if colon else known.default)


class Written(NamedTuple):
    """A blob that was written: its digest, as ``sha256:`` and 64 hexadecimal digits, its size in bytes, and its diff_id.

    The diff_id is the digest of what was compressed (OCI image-spec, config.md, "Layer DiffID").
    """

    digest: str
    size: int
    diff_id: str


class BlobWriter:
    """A new blob, to which bytes are written that get compressed, hashed and counted on the way. See `new_blob`."""

    def __init__(self, out: BinaryIO, compression: Compression, hashers: Executor) -> None:
        self._blob = _Hashed(out.write, hashers)
        self._content = self._blob
        self._blocks: _Blocks | None = None
        if compression.codec != "none":
            self._compressor = _compressor(compression)
            self._blocks = _Blocks(lambda data: self._blob.write(self._compressor.compress(data)))
            self._content = _Hashed(self._blocks.write, hashers)

    def write(self, data: bytes) -> None:
        """Append bytes. They must not be changed afterwards: they are hashed meanwhile."""
        self._content.write(data)

    def finish(self) -> Written:
        """Write what the compressor still holds; nothing may be written after that."""
        diff_id, _ = self._content.digest()
        if self._blocks is None:
            return Written(diff_id, self._content.size, diff_id)
        self._blocks.finish()
        self._blob.write(self._compressor.flush())
        digest, size = self._blob.digest()
        return Written(digest, size, diff_id)


@contextmanager
def new_blob(path: Path, compression: Compression) -> Iterator[BlobWriter]:
    """Make the new file ``path``. Hashes have threads of their own: they take longer than the copy, and hide it."""
    with path.open("xb") as out, ThreadPoolExecutor(2) as hashers:
        yield BlobWriter(out, compression, hashers)


def decompressed(blob: io.BufferedReader) -> BinaryIO:
    """What a blob holds, whatever it is compressed with, by its first bytes.

    Reading raises one of `damage` where it is damaged, or just ends where zstd does: compare the diff_id.
    """
    magic = blob.peek(4)[:4]
    if magic[:2] == b"\x1f\x8b":
        from isal import igzip

        return cast(BinaryIO, igzip.IGzipFile(fileobj=blob))  # type: ignore[no-untyped-call]
    if magic == b"\x28\xb5\x2f\xfd":
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(blob, read_across_frames=True)
    return blob


def damage() -> tuple[type[Exception], ...]:
    """What reading damaged compressed data raises."""
    import zstandard
    from isal import isal_zlib

    return EOFError, gzip.BadGzipFile, zlib.error, cast(type[Exception], isal_zlib.error), zstandard.ZstdError


def _compressor(compression: Compression) -> Any:
    if compression.codec == "gzip":
        from isal import isal_zlib

        return isal_zlib.compressobj(compression.level, isal_zlib.DEFLATED, 31)
    import zstandard

    return zstandard.ZstdCompressor(level=compression.level, write_checksum=False, threads=0).compressobj()


class _Blocks:
    """Hands bytes on in pieces of `CHUNK`, in whatever pieces they come: what ISA-L makes of them depends on that."""

    def __init__(self, hand_on: Callable[[bytes], object]) -> None:
        self._hand_on = hand_on
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        self._waiting += data
        whole = len(self._waiting) // CHUNK * CHUNK
        for start in range(0, whole, CHUNK):
            self._hand_on(bytes(self._waiting[start : start + CHUNK]))
        del self._waiting[:whole]

    def finish(self) -> None:
        self._hand_on(bytes(self._waiting))
        self._waiting.clear()


class _Hashed:
    """Hands bytes on, and hashes and counts them. One piece is hashed while it is handed on."""

    def __init__(self, hand_on: Callable[[bytes], object], hashers: Executor) -> None:
        self.size = 0
        self._hand_on = hand_on
        self._hashers = hashers
        self._sha256 = hashlib.sha256()
        self._hashing: Future[None] | None = None

    def write(self, data: bytes) -> None:
        if not data:
            return
        self._wait()
        if len(data) < CHUNK >> 2:
            self._sha256.update(data)
        else:
            self._hashing = self._hashers.submit(self._sha256.update, data)
        self._hand_on(data)
        self.size += len(data)

    def digest(self) -> tuple[str, int]:
        self._wait()
        return f"sha256:{self._sha256.hexdigest()}", self.size

    def _wait(self) -> None:
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None
