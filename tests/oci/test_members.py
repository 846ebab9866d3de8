"""What goes into a layer: owners, modes, links, folders, deletions, and what is refused."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import ActionError
from enginewright.oci import tar
from enginewright.oci.compression import Compression, Written, new_blob
from enginewright.oci.members import Rights, gather
from enginewright.oci.tar import Member, header


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "run").write_bytes(b"#!/bin/sh\n")
    (tree / "bin" / "run").chmod(0o555)
    (tree / "bin" / "data").write_bytes(b"data")
    return tree


def archive(path: Path, *args: Any, mtime: int = 0, **options: Any) -> dict[str, tarfile.TarInfo]:
    write(path, gather(*args, **options), mtime)
    with tarfile.open(path) as tar:
        return {"/" + member.name: member for member in tar}


def write(path: Path, members: list[Member], mtime: int = 0) -> Written:
    with new_blob(path, Compression("none", 0)) as blob:
        for part in tar.archive(members, mtime):
            blob.write(part)
        return blob.finish()


def test_owners_and_modes_by_path(tree: Path, tmp_path: Path) -> None:
    rights = Rights(
        owners={"/app/": (1000, 1001), "/app/bin/run": (0, 0), "/data/": (7, 7)},
        modes={"/app/": 0o640, "/app/bin/run": 0o4755, "/app/bin": 0o750, "/data": 0o1777},
    )
    found = archive(tmp_path / "layer.tar", {"/app": tree, "/etc/motd": tree / "bin" / "data"}, folders=["/data"], rights=rights)
    assert {path: (member.mode, member.uid, member.gid) for path, member in found.items()} == {
        "/app": (0o755, 1000, 1001),
        "/app/bin": (0o750, 1000, 1001),
        "/app/bin/data": (0o640, 1000, 1001),
        "/app/bin/run": (0o4755, 0, 0),
        "/data": (0o1777, 7, 7),
        "/etc": (0o755, 0, 0),
        "/etc/motd": (0o644, 0, 0),
    }


def test_the_root_stands_for_everything(tree: Path, tmp_path: Path) -> None:
    found = archive(tmp_path / "layer.tar", {"/": tree}, rights=Rights({"/": (5, 6)}, {"/": 0o600}))
    assert {(member.uid, member.gid) for member in found.values()} == {(5, 6)}
    assert found["/bin"].mode == 0o755 and found["/bin/run"].mode == 0o600


def test_a_file_that_is_executable_in_a_folder_and_setuid_bits_that_nobody_declared(tree: Path, tmp_path: Path) -> None:
    (tree / "bin" / "run").chmod(0o6755)
    found = archive(tmp_path / "layer.tar", {"/app": tree, "/run": tree / "bin" / "run"})
    assert found["/app/bin/run"].mode == 0o755 and found["/app/bin/data"].mode == 0o644
    assert found["/run"].mode == 0o644  # the mode of a single file is no part of its digest


def test_links_folders_and_deletions(tree: Path, tmp_path: Path) -> None:
    found = archive(
        tmp_path / "layer.tar",
        {"/app/data": tree / "bin" / "data"},
        {"/usr/bin/app": "../../app/data", "/x": "/abs", "/é": "x" * 200},
        ["/var/empty/"],
        ["/etc/motd", "/old"],
    )
    assert [(path, member.linkname) for path, member in found.items() if member.issym()] == [
        ("/usr/bin/app", "../../app/data"), ("/x", "/abs"), ("/é", "x" * 200),
    ]  # fmt: skip
    assert found["/var/empty"].isdir() and found["/etc"].isdir()
    assert [path for path in found if ".wh." in path] == ["/.wh.old", "/etc/.wh.motd"] and found["/.wh.old"].size == 0


@pytest.mark.parametrize(
    ("rights", "problem"),
    [
        (Rights(owners={"/opt": (1, 1)}), r"owners\['/opt'\]: the layer has no such path"),
        (Rights(modes={"/app/missing/": 0o600}), r"modes\['/app/missing/'\]: the layer has no such path"),
        (Rights(modes={"/link": 0o600}), r"modes\['/link'\]: a symbolic link has no mode of its own"),
    ],
)
def test_rights_of_nothing(tree: Path, rights: Rights, problem: str) -> None:
    with pytest.raises(ActionError, match=problem):
        gather({"/app": tree}, {"/link": "app"}, rights=rights)


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "a/" * 2048 + "b"])
def test_names_that_linux_has_no_room_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ActionError, match=r"no file can have this name: Linux has room for 255 bytes a part, 4095 in all"):
        gather({f"/{name}": tmp_path / "file"})


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "/".join(["p" * 200] * 10)])
def test_names_that_it_has_room_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert f"/{name}" in archive(tmp_path / "layer.tar", {f"/{name}": tmp_path / "file"})


@pytest.mark.parametrize("name", ["../etc/passwd", "a/../../b", "a//b", "a/./b", "..", "nul\0"])
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ActionError, match="cannot be the name of a file in a layer"):
        gather({f"/{name}": tmp_path / "file"})


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / os.fsdecode(b"caf\xe9")).touch()
    with pytest.raises(ActionError, match=r"/app/caf\\udce9: its name, or what it leads to, is not UTF-8"):
        write(tmp_path / "layer.tar", gather({"/app": tmp_path / "tree"}))


def test_a_link_and_a_file_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ActionError, match="/a would come from two inputs"):
        gather({"/a": tmp_path / "file"}, {"/a": "b"})
    with pytest.raises(ActionError, match="/a would come from two inputs"):
        gather({"/a/b": tmp_path / "file"}, {"/a": "c"})


def test_sparse_and_empty_and_hard_linked_files_are_what_they_read_as(tmp_path: Path) -> None:
    plain, odd = tmp_path / "plain", tmp_path / "odd"
    for folder in (plain, odd):
        folder.mkdir()
        (folder / "empty").touch()
        (folder / "one").write_bytes(b"same")
    (plain / "two").write_bytes(b"same")
    os.link(odd / "one", odd / "two")
    (plain / "sparse").write_bytes(bytes(3 << 20) + b"end")
    with (odd / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    written = [write(tmp_path / f"{folder.name}.tar", gather({"/": folder})) for folder in (plain, odd)]
    assert written[0] == written[1]


def test_owners_that_ustar_has_no_room_for() -> None:
    for uid, extended in ((0o7777777, False), (0o10000000, True), (2**32 - 2, True)):
        blocks = header(Member("a", "file", 0o644, uid=uid, gid=uid), 0, 0)
        member = tarfile.open(fileobj=io.BytesIO(blocks), mode="r:").next()
        assert member is not None and (member.uid, member.gid) == (uid, uid) and ("uid" in member.pax_headers) == extended


@pytest.mark.parametrize("names", [["b", "a"], ["a", "a"]])
def test_members_out_of_order(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(ValueError, match="members must be sorted, each once"):
        write(tmp_path / "layer.tar", [Member(name, "file", 0o644) for name in names])


def test_members_may_have_their_bytes_with_them(tmp_path: Path) -> None:
    write(tmp_path / "layer.tar", [Member("a", "file", 0o644, b"1234"), Member("b", "hardlink", 0o644, target="a")])
    with tarfile.open(tmp_path / "layer.tar") as tar:
        assert tar.extractfile("b").read() == b"1234"  # type: ignore[union-attr]
