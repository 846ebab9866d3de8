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
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

CHUNK = 1 << 20
"""Bytes of one read, and of a block that is hashed and compressed at once."""

_BLOCKS = 4


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


class Readable(Protocol):
    """What bytes are read from: it fills a buffer from its start, says how many bytes there are in it now, and 0 at its end."""

    def readinto(self, buffer: memoryview, /) -> int: ...


class BlobWriter:
    """A new blob, to which bytes are written that get compressed, hashed and counted on the way. See `new_blob`."""

    def __init__(self, out: BinaryIO, compression: Compression, for_blob: Executor, for_content: Executor) -> None:
        self._blob = _Blocks(out.write, for_blob)
        self._content = self._blob
        if compression.codec != "none":
            self._compressor = _compressor(compression)
            self._content = _Blocks(lambda block: self._blob.read(io.BytesIO(self._compressor.compress(block))), for_content)

    def write(self, data: bytes | Readable) -> None:
        """Append bytes, or all that something has to be read."""
        self._content.read(io.BytesIO(data) if isinstance(data, bytes) else data)

    def finish(self) -> Written:
        """Write what the last block and the compressor still hold; nothing may be written after that."""
        diff_id, size = self._content.finish()
        if self._content is self._blob:
            return Written(diff_id, size, diff_id)
        self._blob.read(io.BytesIO(self._compressor.flush()))
        digest, size = self._blob.finish()
        return Written(digest, size, diff_id)


@contextmanager
def new_blob(path: Path, compression: Compression) -> Iterator[BlobWriter]:
    """Make the new file ``path``. Hashes have threads of their own: they take longer than the copy, and hide it."""
    with path.open("xb") as out, ThreadPoolExecutor(1) as for_blob, ThreadPoolExecutor(1) as for_content:
        yield BlobWriter(out, compression, for_blob, for_content)


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
    """Collects bytes in blocks of `CHUNK`, and hashes each while it is handed on.

    Blocks are of one size however bytes come, since what ISA-L makes of them depends on that. There are `_BLOCKS`, used again and again,
    and read into without a copy, so that neither allocation nor a moment's wait for the other side costs time. ``hasher`` has one thread.
    """

    def __init__(self, hand_on: Callable[[memoryview], object], hasher: Executor) -> None:
        self._hand_on = hand_on
        self._hasher = hasher
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._block = memoryview(bytearray(CHUNK))
        self._filled = 0
        self._hashing: deque[tuple[memoryview, Future[None]]] = deque()

    def read(self, source: Readable) -> None:
        """Append all that there is to be read."""
        while count := source.readinto(self._block[self._filled :]):
            self._filled += count
            if self._filled == CHUNK:
                self._pass_on()
                self._block, self._filled = self._next(), 0

    def finish(self) -> tuple[str, int]:
        """Hand on what is left; return the digest and the size of all of it."""
        self._pass_on()
        for _, hashed in self._hashing:
            hashed.result()
        return f"sha256:{self._sha256.hexdigest()}", self._size

    def _pass_on(self) -> None:
        filled = self._block[: self._filled]
        self._hashing.append((self._block, self._hasher.submit(self._sha256.update, filled)))
        self._hand_on(filled)
        self._size += self._filled

    def _next(self) -> memoryview:
        """A block that is no longer needed, or another one as long as there may be more."""
        if len(self._hashing) < _BLOCKS and not self._hashing[0][1].done():
            return memoryview(bytearray(CHUNK))
        block, hashed = self._hashing.popleft()
        hashed.result()
        return block
