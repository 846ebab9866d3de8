from __future__ import annotations

import marshal
import os
import time
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from enginewright.store.digest import file_digest
from enginewright.store.snapshot import FORMAT, GRANULARITY_NS, Built, Snapshot

TOLD = "f" * 32
"""No file here has this digest. A snapshot that was told it, and answers with it, has not read the file."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "snapshot"


def settle() -> None:
    """Waits until what was written is no longer recent."""
    time.sleep(2 * GRANULARITY_NS / 1e9)


def read_only(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o444)
    return file


def test_a_file_is_digested_below_the_root_or_by_its_absolute_path(root: Path, path: Path, tmp_path: Path) -> None:
    (root / "folder").mkdir()
    (root / "folder" / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    snapshot = Snapshot(root, path)
    assert snapshot.digest("folder/a") == file_digest(root / "folder" / "a")
    assert snapshot.digest(str(tmp_path / "b")) == file_digest(tmp_path / "b")


def test_what_is_no_file_has_no_digest(root: Path, path: Path) -> None:
    (root / "folder").mkdir()
    (root / "file").write_text("a")
    snapshot = Snapshot(root, path)
    assert snapshot.digest("folder") is None
    assert snapshot.digest("none") is None
    assert snapshot.digest("file/below") is None


def test_a_file_that_comes_and_goes_is_noticed(root: Path, path: Path) -> None:
    snapshot = Snapshot(root, path)
    assert snapshot.digest("a") is None
    (root / "a").write_text("a")
    assert snapshot.digest("a") == file_digest(root / "a")
    (root / "a").unlink()
    assert snapshot.digest("a") is None
    (root / "a").mkdir()
    assert snapshot.digest("a") is None


def test_an_unchanged_file_is_not_read_again_by_this_build_or_the_next(root: Path, path: Path) -> None:
    (root / "a").write_text("a")
    snapshot = Snapshot(root, path)
    snapshot.placed("a", TOLD)
    assert snapshot.digest("a") == TOLD
    snapshot.save()
    assert Snapshot(root, path).digest("a") == TOLD


def test_a_changed_file_is_read_again(root: Path, path: Path) -> None:
    (root / "a").write_text("a")
    snapshot = Snapshot(root, path)
    snapshot.placed("a", TOLD)
    snapshot.save()
    (root / "a").write_text("b")
    assert Snapshot(root, path).digest("a") == file_digest(root / "a")
    assert snapshot.digest("a") == file_digest(root / "a")


def test_other_bytes_with_the_old_size_and_time_are_noticed(root: Path, path: Path) -> None:
    (root / "a").write_text("a")
    snapshot = Snapshot(root, path)
    snapshot.placed("a", TOLD)
    before = (root / "a").stat()
    settle()
    (root / "a").write_text("b")
    os.utime(root / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (root / "a").stat().st_mtime_ns == before.st_mtime_ns
    assert snapshot.digest("a") == file_digest(root / "a")


def test_another_file_of_the_same_name_is_noticed(root: Path, path: Path) -> None:
    (root / "a").write_text("a")
    (root / "b").write_text("b")
    snapshot = Snapshot(root, path)
    snapshot.placed("a", TOLD)
    os.replace(root / "b", root / "a")
    assert snapshot.digest("a") == file_digest(root / "a")


def test_a_touched_file_has_the_digest_it_had(root: Path, path: Path) -> None:
    (root / "a").write_text("a")
    snapshot = Snapshot(root, path)
    digest = snapshot.digest("a")
    os.utime(root / "a", (0, 0))
    assert snapshot.digest("a") == digest


def test_writes_in_quick_succession_are_all_noticed(root: Path, path: Path) -> None:
    snapshot = Snapshot(root, path)
    for i in range(100):
        (root / "a").write_text(str(i % 2))
        assert snapshot.digest("a") == xxhash.xxh3_128_hexdigest(b"%d" % (i % 2))


def test_the_stat_of_a_file_that_was_just_written_is_not_relied_on(root: Path, path: Path) -> None:
    nothing = b"\xff" * 32  # four times -1, as the snapshot holds it: a stat that no file has
    recent = False
    while not recent:  # at the first go, unless this process had to wait
        (root / "a").write_text("a")
        os.utime(root / "a", (0, 0))  # its mtime is old; its ctime is not
        snapshot = Snapshot(root, path)
        snapshot.digest("a")
        recent = time.time_ns() - (root / "a").stat().st_ctime_ns < GRANULARITY_NS
    snapshot.save()
    assert nothing in path.read_bytes()
    settle()
    snapshot = Snapshot(root, path)
    snapshot.digest("a")
    snapshot.save()
    assert nothing not in path.read_bytes()


def test_linking_a_file_does_not_make_the_next_build_read_it(root: Path, path: Path, tmp_path: Path) -> None:
    file = read_only(root / "a", "a")
    Snapshot(root, path).save()
    snapshot = Snapshot(root, path)
    snapshot.placed("a", TOLD)
    settle()
    os.link(file, tmp_path / "other")
    snapshot.save()
    assert Snapshot(root, path).digest("a") == TOLD


def test_a_link_that_was_made_unseen_does(root: Path, path: Path, tmp_path: Path) -> None:
    file = read_only(root / "a", "a")
    snapshot = Snapshot(root, path)
    snapshot.placed("a", TOLD)
    snapshot.save()
    settle()
    os.link(file, tmp_path / "other")
    later = Snapshot(root, path)  # it did not look at the file before it was linked
    later.set_target("p:a", Built("k", {}))
    later.save()
    assert Snapshot(root, path).digest("a") == file_digest(file)


@pytest.mark.parametrize("change", ["mode", "writable", "bytes"])
def test_only_links_of_read_only_files_are_followed(root: Path, path: Path, tmp_path: Path, change: str) -> None:
    file = read_only(root / "a", "a")
    if change == "writable":
        file.chmod(0o644)
    snapshot = Snapshot(root, path)
    snapshot.placed("a", TOLD)
    settle()
    if change == "mode":
        file.chmod(0o555)
    else:
        os.link(file, tmp_path / "other")
    if change == "bytes":
        file.chmod(0o644)
        file.write_text("b")
        file.chmod(0o444)
    snapshot.save()
    assert Snapshot(root, path).digest("a") == file_digest(file)


def test_a_file_that_vanished_before_the_snapshot_is_written_is_noticed_by_the_next_build(root: Path, path: Path) -> None:
    (root / "a").write_text("a")
    snapshot = Snapshot(root, path)
    snapshot.placed("a", TOLD)
    (root / "a").unlink()
    snapshot.save()
    assert Snapshot(root, path).digest("a") is None


def test_files_and_targets_are_remembered(root: Path, path: Path) -> None:
    names = ["a", "a\nb", "é", "sub/c", os.fsdecode(b"\xff"), " "]
    (root / "sub").mkdir()
    snapshot = Snapshot(root, path)
    for i, name in enumerate(names):
        (root / name).write_text(str(i))
        snapshot.placed(name, f"{i:032x}")
    targets = {"models/x:a": Built("k" * 32, {"onnx": "d" * 32, "sidecar": "e" * 32}), "models/x:b": Built("", {})}
    for label, built in targets.items():
        snapshot.set_target(label, built)
    snapshot.remember(b"memory", b"attachment")
    snapshot.save()
    later = Snapshot(root, path)
    assert [later.digest(name) for name in names] == [f"{i:032x}" for i in range(len(names))]
    assert {label: later.target(label) for label in targets} == targets
    assert later.target("models/x:c") is None
    assert (later.memory, later.attachment) == (b"memory", b"attachment")
    later.keep_only_targets({"models/x:a"})
    later.keep_only({"a"})
    later.save()
    last = Snapshot(root, path)
    assert last.target("models/x:a") == targets["models/x:a"] and last.target("models/x:b") is None
    assert last.digest("a") == f"{0:032x}" and last.digest("é") == file_digest(root / "é")


def test_an_empty_snapshot_is_none(root: Path, path: Path) -> None:
    Snapshot(root, path).save()
    assert not path.exists()


@pytest.mark.parametrize("processes", ["one", "two", "two, of which one is killed"])
def test_what_moved_since_is_found_by_its_stat(root: Path, path: Path, processes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if processes != "one":
        monkeypatch.setattr("enginewright.store.snapshot._WORTH_A_PROCESS", 1)
        monkeypatch.setattr("os.cpu_count", lambda: 2)
    if "killed" in processes:
        ours, dumps = os.getpid(), marshal.dumps
        monkeypatch.setattr("marshal.dumps", lambda *given: dumps(*given) if os.getpid() == ours else os._exit(1))
    (root / "folder").mkdir()
    for name in ("a", "b", "c", "d", "folder/e"):
        (root / name).write_text(name)
    snapshot = Snapshot(root, path)
    for name in ("a", "b", "c", "d", "folder/e"):
        snapshot.placed(name, TOLD)
    settle()
    snapshot.watch(["folder", "none", str(root / "a")])
    snapshot.save()
    assert Snapshot(root, path).moved == []
    (root / "a").write_text("A")
    (root / "b").unlink()
    os.utime(root / "c", (0, 0))
    (root / "folder" / "new").touch()
    (root / "none").touch()
    assert set(Snapshot(root, path).moved) == {"a", str(root / "a"), "b", "c", "folder", "none"}


def test_what_was_written_just_now_has_moved_for_all_we_know(root: Path, path: Path) -> None:
    recent = False
    while not recent:  # at the first go, unless this process had to wait
        (root / "a").write_text("a")
        snapshot = Snapshot(root, path)
        snapshot.watch(["a"])
        recent = time.time_ns() - (root / "a").stat().st_ctime_ns < GRANULARITY_NS
    snapshot.save()
    assert Snapshot(root, path).moved == ["a"]


def test_what_did_not_change_is_not_written_again(root: Path, path: Path) -> None:
    (root / "a").write_text("a")
    snapshot = Snapshot(root, path)
    snapshot.placed("a", TOLD)
    snapshot.save()
    before = path.stat()
    snapshot.save()
    later = Snapshot(root, path)
    later.digest("a")
    later.save()
    assert path.stat().st_ino == before.st_ino and path.stat().st_mtime_ns == before.st_mtime_ns
    later.set_target("p:a", Built("k", {}))
    later.save()
    assert path.stat().st_ino != before.st_ino


@given(st.data())
def test_a_damaged_snapshot_is_no_snapshot(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("root")
    path = root / "snapshot"
    (root / "a").write_text("a")
    snapshot = Snapshot(root, path)
    snapshot.placed("a", TOLD)
    snapshot.set_target("p:a", Built("k", {"o": "d"}))
    snapshot.save()
    whole = path.read_bytes()
    if data.draw(st.booleans(), label="truncated"):
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    later = Snapshot(root, path)
    assert later.target("p:a") is None and later.moved == []
    assert later.digest("a") == file_digest(root / "a")
    later.save()
    assert Snapshot(root, path).digest("a") == file_digest(root / "a")


def test_a_snapshot_of_another_version_is_no_snapshot(root: Path, path: Path) -> None:
    data = marshal.dumps((FORMAT + 1, "what comes next"), 4)
    path.write_bytes(xxhash.xxh3_128_digest(data) + len(data).to_bytes(8, "little") + data)
    assert Snapshot(root, path).moved == []


def test_a_snapshot_that_is_replaced_while_it_is_read_is_none(root: Path, path: Path) -> None:
    (root / "a").write_text("a")
    snapshot = Snapshot(root, path)
    snapshot.placed("a", TOLD)
    snapshot.save()
    early = Snapshot(root, path)
    snapshot.set_target("p:a", Built("k", {}))
    snapshot.save()
    assert early.target("p:a") is None
    assert early.digest("a") == file_digest(root / "a")


def test_files_that_are_read_ahead_are_known(root: Path, path: Path) -> None:
    names = ["a", "b", "c"]
    for name in names:
        (root / name).write_bytes(name.encode() * (5 << 20))
    (root / "folder").mkdir()
    settle()
    digests = [file_digest(root / name) for name in names]
    Snapshot(root, path).read_ahead([*names, "a", "none", "a/none", "folder"])
    snapshot = Snapshot(root, path)
    snapshot.read_ahead(names)
    for name in names:  # the same size and times: only what was read ahead can still answer with the old bytes
        before = (root / name).stat()
        os.utime(root / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [snapshot.digest(name) for name in names] == digests
