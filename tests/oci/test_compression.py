"""Layers in each compression: the same bytes again and again, readable by others, with digests that are right."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tempfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from enginewright.oci.compression import Compression, Written, damage, decompressed, new_blob, parse_compression

ALL = ["none", "gzip:0", "gzip:1", "gzip:3", "zstd:1", "zstd:19"]


def write(path: Path, compression: str, pieces: list[bytes]) -> Written:
    with new_blob(path, parse_compression(compression)) as blob:
        for piece in pieces:
            blob.write(piece)
        return blob.finish()


def read(path: Path) -> bytes:
    with path.open("rb") as file, decompressed(io.BufferedReader(file)) as stream:  # type: ignore[arg-type]
        return stream.read()


@given(st.sampled_from(ALL), st.lists(st.binary(max_size=5000), max_size=5))
def test_what_was_written_is_read_back(compression: str, pieces: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "blob")
        pieces = [b"a", *pieces]  # an archive begins with a name, never as what is compressed does
        written = write(path, compression, pieces)
        blob, content = path.read_bytes(), b"".join(pieces)
        assert read(path) == content
    assert written.digest == f"sha256:{hashlib.sha256(blob).hexdigest()}" and written.size == len(blob)
    assert written.diff_id == f"sha256:{hashlib.sha256(content).hexdigest()}"
    if compression == "none":
        assert blob == content and written.digest == written.diff_id


@pytest.mark.parametrize("compression", ALL)
def test_large_pieces_and_small_ones(tmp_path: Path, compression: str) -> None:
    pieces = [os.urandom(3 << 20), b"", b"x" * 100, bytes(2 << 20), os.urandom(1 << 18)]
    first, second = (write(tmp_path / name, compression, pieces) for name in ("a", "b"))
    assert first == second and (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read(tmp_path / "a") == b"".join(pieces)
    assert first.diff_id == f"sha256:{hashlib.sha256(b''.join(pieces)).hexdigest()}"
    assert first.digest == f"sha256:{hashlib.sha256((tmp_path / 'a').read_bytes()).hexdigest()}"


@pytest.mark.parametrize("compression", ALL)
def test_the_pieces_in_which_bytes_come_do_not_matter(tmp_path: Path, compression: str) -> None:
    """ISA-L compresses other pieces to other bytes; a file system may give a file in any."""
    content = b"".join(number.to_bytes(4, "big") for number in range(800_000))  # 3 blocks and a bit
    written = []
    for number, size in enumerate((len(content), 1 << 20, (1 << 20) - 1, 70_000)):
        pieces = [content[start : start + size] for start in range(0, len(content), size)]
        written.append(write(tmp_path / str(number), compression, pieces))
    assert len(set(written)) == 1


def test_other_readers_and_no_traces_of_when_and_where(tmp_path: Path) -> None:
    write(tmp_path / "gzip", "gzip", [b"layer" * 1000])
    blob = (tmp_path / "gzip").read_bytes()
    # No name, no time, and an operating system that is unknown (RFC 1952, 2.3).
    assert blob[:10] == bytes.fromhex("1f8b0800 00000000 00ff") and gzip.decompress(blob) == b"layer" * 1000
    write(tmp_path / "zstd", "zstd", [b"layer" * 1000])
    with zstandard.ZstdDecompressor().stream_reader((tmp_path / "zstd").read_bytes()) as stream:
        assert stream.read() == b"layer" * 1000


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_damage_is_noticed_or_the_diff_id_is_another(tmp_path: Path, compression: str) -> None:
    written = write(tmp_path / "blob", compression, [os.urandom(100_000)])
    whole = (tmp_path / "blob").read_bytes()
    for number, broken in enumerate((whole[:-100], whole[:50_000], whole[:50] + b"\0" * 20 + whole[70:], whole[:6])):
        (tmp_path / str(number)).write_bytes(broken)
        try:
            content = read(tmp_path / str(number))
        except damage():
            continue
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" != written.diff_id


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("none", Compression("none", 0)),
        ("gzip", Compression("gzip", 1)),
        ("gzip:0", Compression("gzip", 0)),
        ("zstd", Compression("zstd", 1)),
        ("zstd:22", Compression("zstd", 22)),
    ],
)
def test_names(text: str, read: Compression) -> None:
    assert parse_compression(text) == read
    assert parse_compression(str(read)) == read


@pytest.mark.parametrize("text", ["", "lz4", "none:0", "gzip:4", "zstd:0", "zstd:23", "zstd:", "zstd:-1", "zstd:1.5", "GZIP"])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no compression of layers: there are none, gzip, gzip:0 to gzip:3, zstd, zstd:1 to"):
        parse_compression(text)
