"""Layers read back: ours, other people's, hostile ones and broken ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from enginewright.errors import ActionError
from enginewright.oci.layer import Layer, write_layer
from enginewright.oci.layout import Descriptor
from enginewright.oci.listing import Entry, Listing, list_layer, merged
from enginewright.oci.media import LAYER
from enginewright.oci.tar import Member


def listed(content: bytes, blob: bytes | None = None) -> Listing:
    blob = content if blob is None else blob
    layer = Layer(Descriptor(LAYER, digest(blob), len(blob)), digest(content))
    return list_layer(Raw(blob), layer, "it")


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Raw(io.RawIOBase):
    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self._file.readinto(buffer)


def archive(*members: tuple[str, bytes, str], format: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive as others write it: of names, types, and targets or contents."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, 0o755
            if kind == tarfile.REGTYPE:
                member.size = len(target)
                tar.addfile(member, io.BytesIO(target.encode()))
            else:
                member.linkname = target
                tar.addfile(member)
    return out.getvalue()


REG, DIR, SYM, LNK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_layer_of_ours(tmp_path: Path, compression: str) -> None:
    members = [
        Member("app", "folder", 0o755),
        Member("app/serve.py", "file", 0o4755, b"print()", uid=1, gid=2),
        Member("app/x", "symlink", 0o777, target="serve.py"),
        Member("etc", "folder", 0o755),
        Member("etc/.wh.motd", "file", 0o644),
        Member("var", "folder", 0o755),
        Member("var/.wh..wh..opq", "file", 0o644),
    ]
    outputs = {"layer": tmp_path / "layer.tar", "descriptor": tmp_path / "layer.json"}
    layer = write_layer(outputs, members, compression)
    found = list_layer(Raw(outputs["layer"].read_bytes()), layer, "it")
    assert found.problems == []
    assert [entry._replace(content="") for entry in found.entries] == [
        Entry("/app", "folder", 0, 0o755),
        Entry("/app/serve.py", "file", 7, 0o4755, 1, 2),
        Entry("/app/x", "symlink", 0, 0o777, 0, 0, "serve.py"),
        Entry("/etc", "folder", 0, 0o755),
        Entry("/etc/motd", "deletion"),
        Entry("/var", "folder", 0, 0o755),
        Entry("/var", "opaque"),
    ]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_layers_of_others(format: int) -> None:
    content = archive(("./", DIR, ""), ("./usr/", DIR, ""), ("./usr/a", REG, "text"), ("./usr/b", LNK, "./usr/a"), format=format)
    found = listed(content)
    assert [(entry.path, entry.kind) for entry in found.entries] == [
        ("/", "folder"), ("/usr", "folder"), ("/usr/a", "file"), ("/usr/b", "hardlink"),
    ]  # fmt: skip
    assert found.problems == []


def test_an_empty_layer() -> None:
    assert listed(bytes(1024)) == Listing([], [])


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([("../../etc/passwd", REG, "x")], "'../../etc/passwd' leads out of the image"),
        ([("a/../../b", REG, "x")], "'a/../../b' leads out of the image"),
        ([("a", REG, "1"), ("./a", REG, "2")], "/a is in it twice"),
        ([("a", REG, "1"), ("a/", DIR, "")], "/a is in it twice"),
        ([("b", LNK, "../../etc/shadow")], "/b is a hard link to '../../etc/shadow', out of the image"),
        ([("b", LNK, "a"), ("a", REG, "1")], "/b is a hard link to 'a', which is not before it"),
        ([("x/b", SYM, "../../a")], "/x/b is a link to '../../a', out of the image"),
    ],
)
def test_hostile_layers(members: list[tuple[str, bytes, str]], problem: str) -> None:
    assert listed(archive(*members)).problems == [problem]


@pytest.mark.parametrize(
    "members", [[("x/b", SYM, "../a")], [("b", SYM, "/etc/passwd")], [("a/", DIR, ""), ("a/", DIR, "")], [("/etc/x", REG, "")]]
)
def test_what_is_no_harm(members: list[tuple[str, bytes, str]]) -> None:
    assert listed(archive(*members)).problems == []


CONTENT = archive(("a", REG, "x" * 100_000))


@pytest.mark.parametrize(
    ("blob", "problem"),
    [
        (lambda: gzip.compress(CONTENT)[:-50], "it is no archive, or damaged"),
        (lambda: gzip.compress(CONTENT)[:5], "it is no archive, or damaged"),
        (lambda: CONTENT[:5000], "it is no archive, or damaged: unexpected end of data"),
        (lambda: b"no archive" * 100, "it is no archive, or damaged"),
        (lambda: gzip.compress(archive(("a", REG, "y" * 100_000))), f"its content has the digest .*, and should have {digest(CONTENT)}"),
    ],
)
def test_broken_layers(blob: Callable[[], bytes], problem: str) -> None:
    with pytest.raises(ActionError, match=f"^it: {problem}"):
        listed(CONTENT, blob())


def shown(*layers: list[Entry]) -> dict[str, int]:
    return {path: number for path, (_, number) in merged(layers).items()}


def file(path: str) -> Entry:
    return Entry(path, "file")


def test_a_deletion_takes_away_what_is_below_it_and_below_its_layer_only() -> None:
    low = [Entry("/a", "folder"), file("/a/x"), Entry("/a/b", "folder"), file("/a/b/y"), file("/ab")]
    assert shown(low, [Entry("/a", "deletion")]) == {"/ab": 0}
    assert shown(low, [Entry("/a/b", "deletion"), file("/a/x")]) == {"/a": 0, "/a/x": 1, "/ab": 0}
    assert shown([Entry("/a", "deletion")], low) == {entry.path: 1 for entry in low}


def test_an_opaque_folder_shows_its_own_only() -> None:
    low = [Entry("/a", "folder"), file("/a/x"), file("/b")]
    assert shown(low, [Entry("/a", "folder"), Entry("/a", "opaque"), file("/a/new")]) == {"/a": 1, "/a/new": 1, "/b": 0}
    assert shown(low, [Entry("/", "opaque"), file("/c")]) == {"/c": 1}


def test_deletions_of_what_is_below_all_of_them() -> None:
    layers = [[Entry("/a", "deletion"), Entry("/b", "deletion"), file("/c/x")], [Entry("/c", "opaque"), file("/b")]]
    assert {path: entry.kind for path, (entry, _) in merged(layers, marks=True).items()} == {
        "/a": "deletion", "/b": "file", "/c/": "opaque",
    }  # fmt: skip


def test_a_file_in_the_place_of_a_folder_and_the_other_way_round() -> None:
    low = [Entry("/a", "folder"), file("/a/x"), file("/f")]
    assert shown(low, [file("/a"), Entry("/f", "folder"), file("/f/y")]) == {"/a": 1, "/f": 1, "/f/y": 1}
    assert shown(low, [Entry("/a", "symlink", target="/f")]) == {"/a": 1, "/f": 0}
