"""What is in a store, clearing it and checking it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.store.content import ContentStore
from enginewright.store.garbage import Keep, Limits, clear, find_garbage
from enginewright.store.inventory import Inventory, Record, take_inventory
from enginewright.store.lock import alone, shared
from enginewright.store.results import ActionCache, Output, Result
from enginewright.store.verify import Verdict, verify

KEYS = ["a" * 32, "b" * 32, "c" * 32]


class Store:
    """A store with a result for each key that was made, used as many seconds after 1970 as it was told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content = ContentStore(root)
        self.actions = ActionCache(root / "actions")

    def blob(self, data: bytes) -> str:
        return self.content.add_bytes(data)

    def tree(self, files: Mapping[str, bytes]) -> str:
        folder = self.content.scratch / "tree"
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return self.content.add_tree(folder, {})

    def result(self, key: str, used: float, digests: Iterable[str] = (), trees: Iterable[str] = ()) -> None:
        outputs = {f"out{i}": Output(f"build/x/{i}", digest, 1) for i, digest in enumerate(digests)}
        outputs |= {f"tree{i}": Output(f"build/x/t{i}", digest, 1, tree=True) for i, digest in enumerate(trees)}
        self.actions.put(Result(key, "models/x:t", {}, outputs, started=1.0, seconds=1.0, peak_rss=1, host="", sandbox=""))
        os.utime(self.actions.path(key), (used, used))

    def keys(self) -> set[str]:
        return {record.key for record in take_inventory(self.root).records}

    def blobs(self) -> set[str]:
        return set(take_inventory(self.root).blobs)

    def damage(self, digest: str) -> None:
        self.content.path(digest).chmod(0o644)
        self.content.path(digest).write_bytes(b"other bytes")

    def verify(self) -> Verdict:
        return verify(self.root, lambda done, total: None)

    def files(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_an_inventory_tells_what_is_there_and_what_refers_to_what(store: Store) -> None:
    plain, tree = store.blob(b"plain"), store.tree({"a": b"in the tree", "sub/b": b"plain"})
    store.result(KEYS[0], 5, [plain], [tree])
    store.result(KEYS[1], 7)
    found = take_inventory(store.root)
    inside = store.blob(b"in the tree")
    assert found.blobs == {digest: store.content.path(digest).stat().st_size for digest in (plain, tree, inside)}
    first, second = sorted(found.records)
    assert (first.key, first.used, first.blobs) == (KEYS[0], 5, {plain, tree, inside})
    assert (second.key, second.used, second.blobs) == (KEYS[1], 7, frozenset())
    assert found.size == sum(path.stat().st_size for path in store.files())
    assert found.referred({KEYS[0]}) == {plain, tree, inside}
    assert found.referred({KEYS[1], "f" * 32}) == set()


def test_a_store_that_is_not_there_is_empty_and_stays_so(tmp_path: Path) -> None:
    assert take_inventory(tmp_path / "store") == Inventory({}, [], {})
    clear(tmp_path / "store", Limits(), Keep(), dry_run=True)
    assert not (tmp_path / "store").exists()


def test_without_limits_only_what_no_result_refers_to_goes(store: Store) -> None:
    tree = store.tree({"a": b"in the tree"})
    kept = {store.blob(b"kept"), tree, store.blob(b"in the tree")}
    orphan = store.blob(b"orphan")
    store.result(KEYS[0], 0, [store.blob(b"kept")], [tree])
    garbage = clear(store.root, Limits(), Keep())
    assert (garbage.records, garbage.blobs, garbage.size) == ([], {orphan: 6}, 6)
    assert store.blobs() == kept
    assert store.keys() == {KEYS[0]}
    assert garbage.left == take_inventory(store.root).size


def test_what_was_not_used_for_longest_goes_first_until_the_rest_fits(store: Store) -> None:
    blobs = [store.blob(bytes([i]) * 1000) for i in range(3)]
    for key, blob, used in zip(KEYS, blobs, (20, 30, 10)):
        store.result(key, used, [blob])
    total = take_inventory(store.root).size
    clear(store.root, Limits(size=total), Keep())
    assert store.keys() == set(KEYS)
    garbage = clear(store.root, Limits(size=total - 1), Keep())
    assert [record.key for record in garbage.records] == [KEYS[2]]
    assert store.blobs() == {blobs[0], blobs[1]}
    clear(store.root, Limits(size=1500 + 2 * garbage.records[0].size), Keep())
    assert (store.keys(), store.blobs()) == ({KEYS[1]}, {blobs[1]})
    clear(store.root, Limits(size=0), Keep())
    assert (store.keys(), store.blobs()) == (set(), set())


def test_what_was_not_used_since_goes(store: Store) -> None:
    for key, used in zip(KEYS, (10, 20, 30)):
        store.result(key, used, [store.blob(key.encode())])
    clear(store.root, Limits(since=20), Keep())
    assert store.keys() == {KEYS[1], KEYS[2]}
    store.actions.use(KEYS[1])
    clear(store.root, Limits(since=31), Keep())
    assert store.keys() == {KEYS[1]}


def test_a_blob_that_a_result_that_stays_refers_to_stays(store: Store) -> None:
    both = store.blob(b"of both")
    store.result(KEYS[0], 10, [both, store.blob(b"of the older")])
    store.result(KEYS[1], 20, [both])
    clear(store.root, Limits(since=15), Keep())
    assert (store.keys(), store.blobs()) == ({KEYS[1]}, {both})


def test_what_is_to_be_kept_stays_whatever_the_limits(store: Store) -> None:
    tree = store.tree({"a": b"in the tree"})
    kept, alone_kept = store.blob(b"kept"), store.blob(b"of a result that is gone")
    store.result(KEYS[0], 0, [kept], [tree])
    store.result(KEYS[1], 10, [kept, store.blob(b"goes")])
    garbage = clear(store.root, Limits(size=0, since=100), Keep(frozenset({KEYS[0]}), frozenset({kept, alone_kept})))
    assert store.keys() == {KEYS[0]}
    assert store.blobs() == {kept, alone_kept, tree, store.blob(b"in the tree")}
    assert garbage.left > 0


def test_a_dry_run_says_the_same_and_changes_nothing(store: Store) -> None:
    store.result(KEYS[0], 0, [store.blob(b"of a result")])
    store.damage(store.blob(b"damaged"))
    store.verify()
    store.blob(b"orphan")
    before = store.files()
    told = clear(store.root, Limits(size=0), Keep(), dry_run=True)
    assert store.files() == before
    assert len(told.records) == len(told.quarantined) == 1 and len(told.blobs) == 2
    done = clear(store.root, Limits(size=0), Keep())
    assert (done.records, done.blobs, done.quarantined, done.left) == (told.records, told.blobs, told.quarantined, told.left)
    assert store.files() == []


def test_a_record_that_cannot_be_read_goes_by_its_age_and_keeps_nothing(store: Store) -> None:
    store.result(KEYS[0], 10, [store.blob(b"lost")])
    store.actions.path(KEYS[0]).write_bytes(b"{")
    os.utime(store.actions.path(KEYS[0]), (10, 10))
    clear(store.root, Limits(since=5), Keep())
    assert (store.keys(), store.blobs()) == ({KEYS[0]}, set())
    clear(store.root, Limits(since=15), Keep())
    assert store.keys() == set()


def test_half_written_files_go_and_those_of_a_process_that_lives_stay(store: Store) -> None:
    store.result(KEYS[0], 0)
    half = store.actions.path(KEYS[0]).with_name(".abc.part")
    half.write_bytes(b"half")
    mine = store.content.scratch
    (store.root / "tmp" / "enginewright-killed" / "folder").mkdir(parents=True)
    assert clear(store.root, Limits(), Keep()).leftovers == 2
    assert list((store.root / "tmp").iterdir()) == [mine]
    assert store.files() == [store.actions.path(KEYS[0])]


def test_clearing_waits_for_those_that_share_the_store(store: Store) -> None:
    orphan = store.blob(b"about to be referred to")
    with ThreadPoolExecutor(1) as pool:
        with shared(store.root), shared(store.root):
            clearing = pool.submit(clear, store.root, Limits(), Keep())
            with pytest.raises(TimeoutError):
                clearing.result(timeout=0.2)
            store.result(KEYS[0], 0, [orphan])
        assert clearing.result().blobs == {}
    assert store.blobs() == {orphan}


def test_sharing_waits_for_the_one_who_has_the_store_alone(store: Store) -> None:
    entered = threading.Event()

    def share() -> None:
        with shared(store.root):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with alone(store.root):
            pool.submit(share)
            assert not entered.wait(0.2)
        assert entered.wait(60)


def test_two_may_clear_at_once(store: Store) -> None:
    for i in range(50):
        store.result(f"{i:032x}", i, [store.blob(bytes([i]))])
    with ThreadPoolExecutor(4) as pool:
        cleared = list(pool.map(lambda size: clear(store.root, Limits(size=size), Keep()), [5000, 4000, 3000, 2000]))
    assert len({record.key for each in cleared for record in each.records}) == sum(len(each.records) for each in cleared)
    assert take_inventory(store.root).size <= 2000
    assert store.verify().wrong == 0


digests = st.sampled_from("abcdef")
records = st.lists(
    st.builds(Record, st.text("0123", min_size=2, max_size=2), st.floats(0, 9), st.integers(0, 9), st.none() | st.frozensets(digests)),
    unique_by=lambda record: record.key,
)
inventories = st.builds(Inventory, st.dictionaries(digests, st.integers(0, 99)), records, st.just({}))


@given(
    inventories,
    st.builds(Limits, st.none() | st.integers(0, 300), st.none() | st.floats(0, 9)),
    st.builds(Keep, st.frozensets(st.text("0123", min_size=2, max_size=2)), st.frozensets(digests)),
)
def test_what_goes_and_what_stays(inventory: Inventory, limits: Limits, keep: Keep) -> None:
    garbage = find_garbage(inventory, limits, keep)
    stay = [record for record in inventory.records if record not in garbage.records]
    stay_blobs = inventory.blobs.keys() - garbage.blobs.keys()
    # What is kept stays, and so does what a result that stays refers to; nothing else does.
    assert all(record in stay for record in inventory.records if record.key in keep.keys)
    referred = {digest for record in stay for digest in record.blobs or ()} | keep.digests
    assert stay_blobs == referred & inventory.blobs.keys()
    assert garbage.left == sum(inventory.blobs[digest] for digest in stay_blobs) + sum(record.size for record in stay)
    # The limits are met, unless by what is kept; and nothing goes that need not.
    free = [record for record in stay if record.key not in keep.keys]
    assert limits.since is None or all(record.used >= limits.since for record in free)
    assert limits.size is None or garbage.left <= limits.size or not free
    last = max(garbage.records, key=lambda record: (record.used, record.key), default=None)
    if last is not None:
        assert all((record.used, record.key) > (last.used, last.key) for record in free)
        assert limits.size is not None or (limits.since is not None and last.used < limits.since)


def test_all_is_well_in_a_store_that_is(store: Store) -> None:
    store.result(KEYS[0], 0, [store.blob(b"plain")], [store.tree({"a": b"in the tree"})])
    store.blob(b"orphan")
    told: list[tuple[int, int]] = []
    verdict = verify(store.root, lambda done, total: told.append((done, total)))
    assert (verdict.blobs, verdict.records, verdict.wrong) == (4, 1, 0)
    assert told[-1] == (verdict.size, verdict.size) and len(told) == 4


def test_a_damaged_blob_is_set_aside_and_its_results_go(store: Store) -> None:
    damaged, whole = store.blob(b"damaged"), store.blob(b"whole")
    store.result(KEYS[0], 0, [damaged, whole])
    store.result(KEYS[1], 0, [whole])
    store.damage(damaged)
    verdict = store.verify()
    assert (verdict.damaged, verdict.unreadable, verdict.incomplete, verdict.wrong) == ([damaged], [], [KEYS[0]], 2)
    assert (store.keys(), store.blobs()) == ({KEYS[1]}, {whole})
    assert (store.root / "quarantine" / damaged).read_bytes() == b"other bytes"
    assert store.verify().wrong == 0


def test_a_result_goes_that_lacks_a_blob_be_it_of_a_tree(store: Store) -> None:
    tree = store.tree({"sub/a": b"in the tree"})
    store.result(KEYS[0], 0, [], [tree])
    store.result(KEYS[1], 0, [store.blob(b"lost")])
    store.result(KEYS[2], 0)
    store.content.path(store.blob(b"in the tree")).unlink()
    store.content.path(store.blob(b"lost")).unlink()
    assert sorted(store.verify().incomplete) == KEYS[:2]
    assert (store.keys(), store.blobs()) == ({KEYS[2]}, {tree})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"outputs": {}}'])
def test_a_record_that_cannot_be_read_is_set_aside(store: Store, content: bytes) -> None:
    store.result(KEYS[0], 0, [store.blob(b"plain")])
    store.actions.path(KEYS[0]).write_bytes(content)
    assert store.verify().unreadable == [KEYS[0]]
    assert store.keys() == set()
    assert (store.root / "quarantine" / f"{KEYS[0]}.json").read_bytes() == content
    assert store.verify().wrong == 0


def test_a_record_under_another_key_is_set_aside(store: Store) -> None:
    store.result(KEYS[0], 0)
    store.actions.path(KEYS[1]).parent.mkdir()
    os.rename(store.actions.path(KEYS[0]), store.actions.path(KEYS[1]))
    assert store.verify().unreadable == [KEYS[1]]


def test_blobs_may_come_and_go_while_a_store_is_checked(store: Store) -> None:
    digests = [store.blob(bytes([i])) for i in range(100)]

    def come_and_go() -> None:
        for digest in digests:
            store.content.path(digest).unlink()
            store.blob(digest.encode())

    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(come_and_go)
        while not moving.done():
            assert store.verify().wrong == 0
        moving.result()
    assert len(store.blobs()) == 100
