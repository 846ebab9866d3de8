"""Tar layers: what goes in comes out by other people's readers, and the bytes depend on names and content only."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginewright.errors import ActionError
from enginewright.oci.compression import CHUNK, Compression, Written, new_blob
from enginewright.oci.members import gather
from enginewright.oci.tar import Member, archive, header, packed

part = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=120).filter(
    lambda text: text not in (".", "..") and not text.startswith(".wh.")
)
name = st.lists(part, min_size=1, max_size=5).map("/".join)


def write_tar(path: Path, files: Mapping[str, Path], mtime: int = 0) -> Written:
    with new_blob(path, Compression("none", 0)) as blob:
        for part in archive(gather(files), mtime):
            blob.write(part)
        return blob.finish()


def free_of_conflicts(files: Mapping[str, bytes]) -> bool:
    return not any(other.startswith(path + "/") for path in files for other in files)


contents = st.dictionaries(name, st.binary(max_size=2000), max_size=6).filter(free_of_conflicts)


def on_disk(folder: Path, files: Mapping[str, bytes]) -> dict[str, Path]:
    folder.mkdir()
    paths = {}
    for number, (path, data) in enumerate(files.items()):
        paths[path] = folder / str(number)
        paths[path].write_bytes(data)
    return paths


def folders_of(files: Mapping[str, bytes]) -> set[str]:
    return {path[:i] for path in files for i, letter in enumerate(path) if letter == "/"}


@given(contents)
@settings(deadline=None)
def test_tarfile_reads_back_what_was_written(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        layer = Path(scratch, "layer.tar")
        written = write_tar(layer, on_disk(Path(scratch, "in"), files), mtime=12345)
        assert written.size == layer.stat().st_size
        assert written.digest == "sha256:" + hashlib.sha256(layer.read_bytes()).hexdigest()
        with tarfile.open(layer, "r:") as tar:
            members = tar.getmembers()
            found = {member.name: tar.extractfile(member).read() for member in members if member.isreg()}  # type: ignore[union-attr]
    assert found == files
    assert {member.name for member in members if member.isdir()} == folders_of(files)
    assert [member.name for member in members] == sorted(found.keys() | folders_of(files))
    for member in members:
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 12345)
        assert member.mode == (0o755 if member.isdir() else 0o644)


@given(contents, st.integers(0, 2**31), st.sampled_from([0o400, 0o644, 0o755, 0o777]))
@settings(deadline=None, max_examples=50)
def test_only_names_and_content_count(files: dict[str, bytes], mtime: int, mode: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        first = write_tar(Path(scratch, "first.tar"), on_disk(Path(scratch, "a"), files))
        before = os.umask(0o077)
        try:
            others = on_disk(Path(scratch, "b"), dict(reversed(files.items())))
            for path in others.values():
                os.utime(path, (mtime, mtime))
                path.chmod(mode)
                if os.geteuid() == 0:
                    os.chown(path, 1234, 4321)
            second = write_tar(Path(scratch, "second.tar"), others)
        finally:
            os.umask(before)
        assert Path(scratch, "first.tar").read_bytes() == Path(scratch, "second.tar").read_bytes()
    assert first == second


def test_the_format_is_pinned(tmp_path: Path) -> None:
    files = {"models/minilm/engine_sm_80.engine": b"engine", "a" * 120 + "/é": b"x"}
    written = write_tar(tmp_path / "layer.tar", on_disk(tmp_path / "in", files))
    assert written.digest == "sha256:4686a546726e8315d903192c9122688df904d92c86832ab29974baaffa981ac8"


# A header takes 512 bytes: blocks end within the first file, with it, within its padding, and after all.
@pytest.mark.parametrize("size", [3 * CHUNK + 5, CHUNK - 512, CHUNK - 513, 9 * CHUNK, CHUNK - 2048])
def test_files_larger_than_a_block(tmp_path: Path, size: int) -> None:
    files = {"a": tmp_path / "engine", "b": tmp_path / "other"}
    contents = {"a": os.urandom(size), "b": os.urandom(CHUNK + 1)}
    for name, path in files.items():
        path.write_bytes(contents[name])
    written = write_tar(tmp_path / "layer.tar", files)
    assert written.digest == "sha256:" + hashlib.sha256((tmp_path / "layer.tar").read_bytes()).hexdigest()
    with tarfile.open(tmp_path / "layer.tar") as tar:
        assert {member.name: tar.extractfile(member).read() for member in tar} == contents  # type: ignore[union-attr]
    assert packed(gather(files)) == (tmp_path / "layer.tar").read_bytes()


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "engine").write_bytes(bytes(3 * CHUNK))
    with new_blob(tmp_path / "layer.tar", Compression("none", 0)) as blob:
        parts = archive(gather({"engine": tmp_path / "engine"}))
        blob.write(next(parts))
        os.truncate(tmp_path / "engine", CHUNK)
        with pytest.raises(ActionError, match=f"/engine: its source lost {2 * CHUNK} bytes while it was read: build again"):
            blob.write(next(parts))


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "engine").write_bytes(b"as it was")
    whole = packed(gather({"engine": tmp_path / "engine"}))
    read = bytearray()
    for part in archive(gather({"engine": tmp_path / "engine"})):
        with (tmp_path / "engine").open("ab") as file:
            file.write(bytes(CHUNK))
        read += part if isinstance(part, bytes) else part.read()
    assert read == whole


def test_a_folder_brings_all_that_is_in_it(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "empty").mkdir(parents=True)
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "er" / "file").write_bytes(b"1")
    # An action sees its inputs as symbolic links.
    (tmp_path / "blob").write_bytes(b"2")
    (tree / "link").symlink_to(tmp_path / "blob")
    (tmp_path / "linked_tree").symlink_to(tree)
    write_tar(tmp_path / "layer.tar", {"app/tree": tmp_path / "linked_tree", "app/file": tmp_path / "blob"})
    with tarfile.open(tmp_path / "layer.tar") as tar:
        assert {member.name: member.isdir() for member in tar} == {
            "app": True,
            "app/file": False,
            "app/tree": True,
            "app/tree/deep": True,
            "app/tree/deep/er": True,
            "app/tree/deep/er/file": False,
            "app/tree/empty": True,
            "app/tree/link": False,
        }
        assert tar.extractfile("app/tree/link").read() == b"2"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "needs_pax"),
    [
        ("a" * 100, False),
        ("a" * 101, True),
        ("p" * 155 + "/" + "n" * 100, False),
        ("p" * 156 + "/" + "n" * 100, True),
        ("p" * 155 + "/" + "n" * 101, True),
        ("p/" * 77 + "n" * 100, False),
        ("é", True),
        ("engine " * 40 + "\n=", True),
    ],
)
def test_long_and_foreign_names(path: str, needs_pax: bool) -> None:
    for kind in ("file", "folder"):
        blocks = header(Member(path, kind, 0o644), 0, 0)  # type: ignore[arg-type]
        with tarfile.open(fileobj=io.BytesIO(blocks), mode="r:") as tar:
            member = tar.next()
        assert member is not None
        assert (member.name, member.isdir()) == (path, kind == "folder")
        if kind == "file":
            assert ("path" in member.pax_headers) == needs_pax
            assert (len(blocks) > 512) == needs_pax


@pytest.mark.parametrize(("size", "needs_pax"), [(8 * 2**30 - 1, False), (8 * 2**30, True), (10**15, True)])
def test_eight_gibibytes_and_more(size: int, needs_pax: bool) -> None:
    with tarfile.open(fileobj=io.BytesIO(header(Member("engine", "file", 0o644), size, 0)), mode="r:") as tar:
        member = tar.next()
    assert member is not None
    assert (member.name, member.size) == ("engine", size)
    assert ("size" in member.pax_headers) == needs_pax


def test_a_number_that_fits_nowhere() -> None:
    with pytest.raises(ValueError, match="-1 does not fit"):
        header(Member("engine", "file", 0o644), 0, -1)


def test_two_inputs_that_want_one_name(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").touch()
    with pytest.raises(ActionError, match="/app/file would come from two inputs"):
        write_tar(tmp_path / "1.tar", {"app": tree, "app/file": tmp_path / "tree" / "file"})
    with pytest.raises(ActionError, match="/app/file would come from two inputs"):
        write_tar(tmp_path / "2.tar", {"app/file/below": tree / "file", "app": tree})


def test_a_name_that_would_delete_a_file_below(tmp_path: Path) -> None:
    (tmp_path / ".wh.motd").touch()
    with pytest.raises(ActionError, match=r"/etc/\.wh\.motd.*rename it"):
        write_tar(tmp_path / "layer.tar", {"etc/.wh.motd": tmp_path / ".wh.motd"})
    with pytest.raises(ActionError, match=r"/\.wh\.etc/motd: a name that starts with \.wh\. deletes a file"):
        write_tar(tmp_path / "other.tar", {".wh.etc/motd": tmp_path / ".wh.motd"})


def test_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ActionError, match="neither a file nor a folder"):
        write_tar(tmp_path / "layer.tar", {"pipe": tmp_path / "pipe"})


SHORT = Path("/sys/kernel/uevent_seqnum")


@pytest.mark.skipif(not SHORT.exists(), reason="needs sysfs, whose files are shorter than their stat says")
def test_a_file_that_ends_early(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"lost \d+ bytes while it was read"):
        write_tar(tmp_path / "layer.tar", {"engine": SHORT})
