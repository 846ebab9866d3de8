from __future__ import annotations

import errno
import hashlib
import os
from array import array
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from enginewright.store.digest import CHUNK, Entry, Stat, decode_tree, encode_tree, file_digest, file_digests, tree_digest, tree_files

# Any bytes but NUL and / may name a file; Python shows those that are no UTF-8 as lone surrogates.
NAMES = st.binary(min_size=1, max_size=8).filter(lambda name: not {0, ord("/")} & set(name)).map(os.fsdecode)
DIGESTS = st.binary(min_size=16, max_size=16).map(bytes.hex)
ENTRIES = st.lists(st.builds(Entry, st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.booleans(), DIGESTS), max_size=5)

ODD_NAMES = ["a b", "a\nb", " ", "-", "é", "e\u0301", "*", "\\", "\t", os.fsdecode(b"\xff\xfe"), "x" * 255]


@pytest.mark.parametrize(
    ("data", "fast", "strong"),
    [
        # From the test suites of xxHash and of FIPS 180-4.
        (b"", "99aa06d3014798d86001c324468d497f", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "06b05ab6733a618578af5f94892f3950", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ],
)
def test_digests_are_xxh3_128_and_sha_256(tmp_path: Path, data: bytes, fast: str, strong: str) -> None:
    (tmp_path / "file").write_bytes(data)
    assert file_digest(tmp_path / "file") == fast
    assert file_digests(str(tmp_path / "file")) == (fast, strong)


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_files_of_several_reads_are_digested_whole(tmp_path: Path, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    assert file_digests(tmp_path / "file") == (xxhash.xxh3_128_hexdigest(data[:size]), hashlib.sha256(data[:size]).hexdigest())


def test_what_cannot_be_read_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        file_digests(tmp_path)


@given(ENTRIES)
def test_a_tree_is_read_back_from_its_listing(entries: list[Entry]) -> None:
    assert decode_tree(encode_tree(entries)) == sorted(entries)


@given(ENTRIES, ENTRIES)
def test_different_trees_have_different_listings(one: list[Entry], other: list[Entry]) -> None:
    assert (encode_tree(one) == encode_tree(other)) == (sorted(one) == sorted(other))


def test_a_name_cannot_pass_for_the_next_line_of_a_listing() -> None:
    one, other = "a" * 32, "b" * 32
    assert encode_tree([Entry(f"a\n{other} - b", False, one)]) != encode_tree([Entry("a", False, one), Entry("b", False, other)])


@pytest.mark.parametrize("data", [b"", b"tree", b"{}", b"\xff", b"tree\0abc\0", encode_tree([Entry("a", True, "0" * 32)])[:-1]])
def test_other_bytes_are_no_listing(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_tree(data)


def test_the_files_of_a_tree_are_found_in_order_whatever_their_names(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "b", tmp_path / "b" / "\n"):
        folder.mkdir(exist_ok=True)
        for name in ODD_NAMES:
            (folder / name).write_text(name, errors="surrogateescape")
    found = list(tree_files(tmp_path))
    assert [name for name, _ in found] == sorted(prefix + name for prefix in ("", "b/", "b/\n/") for name in ODD_NAMES)
    assert all(path == tmp_path / name and path.is_file() for name, path in found)
    entries = [Entry(name, False, file_digest(path)) for name, path in found]
    assert decode_tree(encode_tree(entries)) == entries


def test_the_digest_of_a_tree_covers_names_bytes_and_modes_and_nothing_else(tmp_path: Path) -> None:
    def tree(name: str, files: dict[str, str], executable: str = "") -> str:
        for path, text in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
            (tmp_path / name / path).chmod(0o755 if path == executable else 0o600)
        return tree_digest(tmp_path / name)

    files = {"a": "1", "b/c": "2"}
    digest = tree("one", files)
    assert tree("same", dict(reversed(files.items()))) == digest
    os.utime(tmp_path / "same" / "a", (0, 0))
    (tmp_path / "same" / "a").chmod(0o444)
    assert tree_digest(tmp_path / "same") == digest
    assert len({digest, tree("text", {"a": "1", "b/c": "3"}), tree("name", {"a": "1", "b/d": "2"}), tree("mode", files, "a")}) == 4


def test_an_empty_folder_is_an_empty_tree(tmp_path: Path) -> None:
    assert list(tree_files(tmp_path)) == []
    assert decode_tree(encode_tree([])) == []


@pytest.mark.parametrize("target", ["file", "folder", "nothing", "."])
def test_a_symbolic_link_is_no_part_of_a_tree(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / target)
    with pytest.raises(ValueError, match=r"^folder/link is not a regular file$"):
        tree_files(tmp_path)


def test_neither_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"^pipe is not a regular file$"):
        tree_files(tmp_path)


def test_neither_is_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    listed = os.scandir

    def scandir(path: str) -> object:  # as for a user who is not root
        if path.endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match=r"^closed cannot be listed: Permission denied$"):
        tree_files(tmp_path)


def test_a_stat_moves_with_the_file_and_not_with_its_being_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    before = Stat.of(file.stat())
    file.read_text()
    assert Stat.of(file.stat()) == before
    mtime = file.stat().st_mtime_ns
    file.write_text("two")
    os.utime(file, ns=(mtime, mtime))
    assert Stat.of(file.stat()) != before


def test_a_stat_fits_four_signed_words_on_file_systems_with_large_inode_numbers() -> None:
    result = os.stat_result((0o100644, 2**64 - 1, 1, 1, 0, 0, 10, 0, 0, 0), {"st_mtime_ns": 1, "st_ctime_ns": 2})
    assert len(array("q", Stat.of(result))) == 4
