from __future__ import annotations

import os
import resource
import stat
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import xxhash

from enginewright.store import content
from enginewright.store.content import LINK_FROM, ContentStore
from enginewright.store.digest import Entry, file_digest, tree_digest

SMALL = b"small"
LARGE = bytes(range(256)) * (LINK_FROM // 256)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store")


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    (tmp_path / "staging").mkdir()
    return tmp_path / "staging"


def add(store: ContentStore, data: bytes, executable: bool = False) -> str:
    """Stores ``data`` as an action's output is stored, and returns its digest."""
    file = store.scratch / f"file-{threading.get_ident()}"
    file.write_bytes(data)
    digest = file_digest(file)
    store.add_file(file, digest, executable)
    assert not file.exists()
    return digest


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def damage(path: Path) -> None:
    """Changes one byte, as a disk or a careless program does."""
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    path.chmod(0o444)


@pytest.mark.parametrize("data", [b"", SMALL, LARGE])
def test_a_blob_is_read_only_and_named_by_its_digest(store: ContentStore, data: bytes) -> None:
    digest = add(store, data)
    assert digest == xxhash.xxh3_128_hexdigest(data)
    assert store.path(digest) == store.root / "blobs" / digest[:2] / digest
    assert store.path(digest).read_bytes() == data
    assert mode(store.path(digest)) == 0o444


@pytest.mark.parametrize(("size", "linked"), [(0, False), (LINK_FROM - 1, False), (LINK_FROM, True), (LINK_FROM + 1, True)])
def test_a_small_blob_is_placed_as_a_copy_and_a_large_one_as_a_link(
    store: ContentStore, staging: Path, tmp_path: Path, size: int, linked: bool
) -> None:
    digest = add(store, b"x" * size)
    out = tmp_path / "new" / "folder" / "out"
    assert store.place(digest, out, staging)
    assert out.read_bytes() == b"x" * size
    assert mode(out) == 0o444
    assert os.path.samefile(out, store.path(digest)) == linked
    assert list(staging.iterdir()) == []


@pytest.mark.parametrize("data", [SMALL, LARGE])
@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_file_is_placed_executable_when_it_is_asked_for_so(
    store: ContentStore, staging: Path, tmp_path: Path, data: bytes, stored: bool, wanted: bool
) -> None:
    digest = add(store, data, executable=stored)
    assert store.place(digest, tmp_path / "out", staging, executable=wanted)
    assert mode(tmp_path / "out") == (0o555 if wanted else 0o444)
    assert (tmp_path / "out").read_bytes() == data
    assert mode(store.path(digest)) == (0o555 if stored else 0o444)


@pytest.mark.parametrize("data", [SMALL, LARGE])
def test_placing_replaces_what_is_there_and_may_be_repeated(store: ContentStore, staging: Path, tmp_path: Path, data: bytes) -> None:
    digest, out = add(store, data), tmp_path / "out"
    out.write_text("old")
    for _ in range(2):
        assert store.place(digest, out, staging)
        assert out.read_bytes() == data
    assert list(staging.iterdir()) == []


def test_a_half_written_file_of_a_killed_build_is_in_nobodys_way(store: ContentStore, staging: Path, tmp_path: Path) -> None:
    digest = add(store, SMALL)
    (staging / "left").write_text("half")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(store.place, digest, tmp_path / "out", staging).result()
    assert (tmp_path / "out").read_bytes() == SMALL


def test_a_large_blob_is_copied_to_another_file_system(store: ContentStore, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here")
    digest = add(store, LARGE)
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        out = Path(folder, "out")
        assert store.place(digest, out, Path(folder))
        assert out.read_bytes() == LARGE and mode(out) == 0o444
        damage(store.path(digest))
        assert not store.place(digest, out, Path(folder))
        assert out.read_bytes() == LARGE
        assert list(Path(folder).iterdir()) == [out]


def test_a_blob_that_is_not_there_cannot_be_placed(store: ContentStore, staging: Path, tmp_path: Path) -> None:
    assert not store.place("0" * 32, tmp_path / "out", staging)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("data", [SMALL, LARGE])
def test_a_damaged_blob_is_set_aside_and_not_placed(store: ContentStore, staging: Path, tmp_path: Path, data: bytes) -> None:
    digest = add(store, data)
    damage(store.path(digest))
    (tmp_path / "out").write_text("old")
    assert not store.place(digest, tmp_path / "out", staging)
    assert (tmp_path / "out").read_text() == "old"
    assert not store.path(digest).exists()
    assert (store.root / "quarantine" / digest).exists()
    assert list(staging.iterdir()) == []
    assert add(store, data) == digest
    assert store.place(digest, tmp_path / "out", staging)


def test_a_large_blob_is_read_once_by_a_process_unless_its_stat_moves(
    store: ContentStore, staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def digest_of(path: str | Path) -> str:
        read.append(str(path))
        return file_digest(path)

    monkeypatch.setattr(content, "file_digest", digest_of)
    new = store.scratch / "new"
    new.write_bytes(LARGE)
    digest = file_digest(new)
    os.utime(new, (1, 1))  # written long before it is hashed
    store.add_file(new, digest)
    for name in ("a", "b"):
        assert store.place(digest, tmp_path / name, staging)
    assert read == []
    assert ContentStore(store.root).place(digest, tmp_path / "c", staging) and len(read) == 1
    damage(store.path(digest))
    assert not store.place(digest, tmp_path / "d", staging) and len(read) == 2


def test_a_truncated_blob_is_damaged_too(store: ContentStore, staging: Path, tmp_path: Path) -> None:
    digest = add(store, SMALL)
    store.path(digest).chmod(0o644)
    os.truncate(store.path(digest), 2)
    assert not store.place(digest, tmp_path / "out", staging)


def test_adding_replaces_an_older_blob_by_the_bytes_that_were_hashed_just_now(store: ContentStore) -> None:
    digest = add(store, SMALL)
    damage(store.path(digest))
    assert add(store, SMALL) == digest
    assert store.path(digest).read_bytes() == SMALL


def test_an_edit_of_a_small_output_in_place_does_not_reach_the_store(store: ContentStore, staging: Path, tmp_path: Path) -> None:
    digest, out = add(store, SMALL), tmp_path / "out"
    store.place(digest, out, staging)
    out.chmod(0o644)
    out.write_bytes(b"edited")
    assert store.path(digest).read_bytes() == SMALL


def test_bytes_are_stored_as_files_are(store: ContentStore) -> None:
    assert store.add_bytes(SMALL) == store.add_bytes(SMALL) == xxhash.xxh3_128_hexdigest(SMALL)
    assert store.path(store.add_bytes(SMALL)).read_bytes() == SMALL


def test_a_tree_is_stored_and_listed(store: ContentStore, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "a\nb").write_bytes(SMALL)
    (tree / "large").write_bytes(LARGE)
    (tree / "bin" / "run").write_bytes(SMALL)
    (tree / "bin" / "run").chmod(0o755)
    expected = tree_digest(tree)
    digest = store.add_tree(tree, {})
    assert digest == expected
    small, large = xxhash.xxh3_128_hexdigest(SMALL), xxhash.xxh3_128_hexdigest(LARGE)
    assert store.tree(digest) == [Entry("a\nb", False, small), Entry("bin/run", True, small), Entry("large", False, large)]
    assert store.path(small).read_bytes() == SMALL
    assert store.path(large).read_bytes() == LARGE


def test_an_empty_tree_is_a_tree(store: ContentStore, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    assert store.tree(store.add_tree(tmp_path / "tree", {})) == []


def test_a_missing_or_damaged_listing_is_no_tree(store: ContentStore, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_bytes(SMALL)
    digest = store.add_tree(tmp_path / "tree", {})
    damage(store.path(digest))
    assert store.tree(digest) is None
    store.path(digest).unlink()
    assert store.tree(digest) is None
    assert store.tree(add(store, SMALL)) is None  # whole, and no listing


def test_storing_a_tree_again_heals_its_damaged_listing(store: ContentStore, tmp_path: Path) -> None:
    def add_one_file() -> str:
        (tmp_path / "tree").mkdir(exist_ok=True)
        (tmp_path / "tree" / "a").write_bytes(SMALL)
        return store.add_tree(tmp_path / "tree", {})

    digest = add_one_file()
    damage(store.path(digest))
    assert add_one_file() == digest
    assert store.tree(digest) == [Entry("a", False, xxhash.xxh3_128_hexdigest(SMALL))]


def test_a_file_linked_into_a_tree_is_not_read_again(store: ContentStore, tmp_path: Path) -> None:
    digest = add(store, LARGE)
    (tmp_path / "tree").mkdir()
    for name in ("a", "b"):
        os.link(store.path(digest), tmp_path / "tree" / name)
    info = store.path(digest).stat()
    told = "f" * 32  # not the digest of its bytes: it is taken from `known`
    assert store.tree(store.add_tree(tmp_path / "tree", {(info.st_dev, info.st_ino): told})) == [
        Entry("a", False, told),
        Entry("b", False, told),
    ]


def test_a_blob_linked_into_a_tree_stays_where_it_is(store: ContentStore, tmp_path: Path) -> None:
    digest = add(store, LARGE)
    (tmp_path / "tree").mkdir()
    os.link(store.path(digest), tmp_path / "tree" / "a")
    info = store.path(digest).stat()
    store.add_tree(tmp_path / "tree", {(info.st_dev, info.st_ino): digest})
    assert store.path(digest).stat().st_ino == info.st_ino
    assert mode(store.path(digest)) == 0o444


@pytest.mark.parametrize("data", [SMALL, LARGE])
def test_a_file_with_another_name_is_copied_and_keeps_its_mode(store: ContentStore, tmp_path: Path, data: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(data)
    source.chmod(0o640)
    (tmp_path / "tree").mkdir()
    os.link(source, tmp_path / "tree" / "a")
    digest = xxhash.xxh3_128_hexdigest(data)
    assert store.tree(store.add_tree(tmp_path / "tree", {})) == [Entry("a", False, digest)]
    source.write_bytes(b"edited")
    assert mode(source) == 0o640
    assert store.path(digest).read_bytes() == data
    assert mode(store.path(digest)) == 0o444


def test_one_content_under_two_names_of_a_tree_is_one_blob(store: ContentStore, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(LARGE)
    os.link(tree / "a", tree / "b")
    (tree / "c").write_bytes(LARGE)
    entries = store.tree(store.add_tree(tree, {}))
    assert entries is not None
    assert {each.digest for each in entries} == {xxhash.xxh3_128_hexdigest(LARGE)}
    assert store.path(entries[0].digest).read_bytes() == LARGE


@pytest.mark.parametrize("data", [SMALL, LARGE])
def test_threads_may_add_and_place_one_blob_at_once(store: ContentStore, staging: Path, tmp_path: Path, data: bytes) -> None:
    digest = add(store, data)

    def work(i: int) -> bool:
        if i % 4 == 0:
            return add(store, data) == digest
        return store.place(digest, tmp_path / ("shared" if i % 4 == 1 else f"out{i}"), staging)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(64)))
    outs = [tmp_path / "shared", *tmp_path.glob("out*"), store.path(digest)]
    assert len(outs) == 34 and {out.read_bytes() for out in outs} == {data}
    assert list(staging.iterdir()) == []


def test_two_stores_in_one_folder_are_one_store(store: ContentStore, staging: Path, tmp_path: Path) -> None:
    other = ContentStore(store.root)
    assert other.place(add(store, SMALL), tmp_path / "out", staging)


def test_a_scratch_folder_is_on_the_stores_file_system_and_does_not_stay(store: ContentStore) -> None:
    other = ContentStore(store.root)
    assert store.scratch == store.scratch != other.scratch
    scratch = store.scratch
    assert scratch.stat().st_dev == store.root.stat().st_dev
    (scratch / "folder").mkdir()
    (scratch / "folder" / "file").touch()
    store.close()
    assert not scratch.exists() and other.scratch.exists()
    other.close()


def test_when_the_disk_is_full_nothing_half_written_is_seen(store: ContentStore, staging: Path, tmp_path: Path) -> None:
    digest = add(store, b"x" * 8192)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as a full disk does, it lets a write end early
    try:
        with pytest.raises(OSError):
            store.place(digest, tmp_path / "out", staging)
        with pytest.raises(OSError):
            store.add_bytes(b"y" * 8192)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "out").exists()
    assert list(staging.iterdir()) == []
    assert not store.path(xxhash.xxh3_128_hexdigest(b"y" * 8192)).exists()
    assert store.place(digest, tmp_path / "out", staging)
