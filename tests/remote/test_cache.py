"""The shared cache as a build uses it, over a folder whose calls fail as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import WorkspaceError
from enginewright.remote.address import parse
from enginewright.remote.bucket import BucketObjects
from enginewright.remote.cache import SharedCache
from enginewright.remote.digest import Digest
from enginewright.remote.errors import RemoteError
from enginewright.remote.objects import ObjectCache

ACTION = Digest.of(b"action")
SMALL, LARGE = b"small", b"large" * 500_000


class Failing(ObjectCache):
    """A folder whose next calls fail with these errors."""

    def __init__(self, folder: Path) -> None:
        super().__init__(BucketObjects(parse(f"file://{folder}"), 5))
        self.errors: list[RemoteError] = []
        self.calls = 0

    def get_result(self, action: Digest, inline: Iterable[str]) -> bytes | None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return super().get_result(action, inline)


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Failing:
    monkeypatch.setattr("enginewright.remote.attempts._FIRST_PAUSE", 0.001)
    return Failing(tmp_path / "shared")


@pytest.fixture
def open_cache(adapter: Failing) -> Callable[..., tuple[SharedCache, list[str]]]:
    def open_it(reads: bool = True, writes: bool = True, required: bool = False, patient: bool = False) -> tuple[SharedCache, list[str]]:
        told: list[str] = []
        return SharedCache(adapter, "the cache", reads, writes, required, told.append, patient), told

    return open_it


Open = Callable[..., tuple[SharedCache, list[str]]]


def put(cache: SharedCache, folder: Path) -> bool:
    (folder / "large").write_bytes(LARGE)
    (folder / "small").write_bytes(SMALL)
    files = {Digest.of(LARGE): folder / "large", Digest.of(SMALL): folder / "small"}
    return cache.put(ACTION, b"result", {Digest.of(b"record"): b"record"}, files)


def fetch(cache: SharedCache, data: bytes, folder: Path) -> bytes | None:
    parts: list[bytes] = []
    if not cache.get_file(Digest.of(data), folder / "fetched", parts.append):
        return None
    found = (folder / "fetched").read_bytes()
    assert b"".join(parts) == found
    return found


def test_what_is_put_there_comes_back(open_cache: Open, tmp_path: Path) -> None:
    cache, told = open_cache()
    assert cache.get_result(ACTION, []) is None
    assert put(cache, tmp_path)
    assert cache.get_result(ACTION, []) == b"result"
    assert (fetch(cache, SMALL, tmp_path), fetch(cache, LARGE, tmp_path)) == (SMALL, LARGE)
    assert (cache.traffic.blobs_up, cache.traffic.blobs_down) == (3, 2)
    up = cache.traffic.bytes_up
    assert put(cache, tmp_path)
    assert (cache.traffic.bytes_up - up, told) == (len(b"result"), [])


def test_a_message_may_be_large(open_cache: Open, tmp_path: Path) -> None:
    cache, _ = open_cache()
    assert cache.put(ACTION, b"result", {Digest.of(LARGE): LARGE}, {})
    assert fetch(cache, LARGE, tmp_path) == LARGE


def test_directions(open_cache: Open, tmp_path: Path) -> None:
    reader, _ = open_cache(writes=False)
    assert not put(reader, tmp_path)
    writer, _ = open_cache(reads=False)
    assert put(writer, tmp_path)
    assert writer.get_result(ACTION, []) is None
    assert reader.get_result(ACTION, []) == b"result"


def test_what_is_in_the_store_with_other_bytes_is_not_put_there(open_cache: Open, tmp_path: Path) -> None:
    cache, told = open_cache()
    (tmp_path / "large").write_bytes(LARGE[:-1])
    assert not cache.put(ACTION, b"result", {}, {Digest.of(LARGE): tmp_path / "large"})
    assert len(told) == 1 and "the store has other bytes" in told[0]
    assert cache.get_result(ACTION, []) is None


def spoil(folder: Path, data: bytes, by: bytes) -> None:
    (folder / "shared/cas" / Digest.of(data).hash).write_bytes(by)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"!", lambda data: b"!" + data[1:], lambda data: b""])
def test_other_bytes_are_refused_and_replaced(open_cache: Open, tmp_path: Path, data: bytes, change: Callable[[bytes], bytes]) -> None:
    cache, told = open_cache()
    put(cache, tmp_path)
    spoil(tmp_path, data, change(data))
    assert not cache.get_file(Digest.of(data), tmp_path / "fetched", lambda part: None)
    assert not cache.get_file(Digest.of(data), tmp_path / "fetched", lambda part: None)
    assert (cache.traffic.refused, len(told)) == (2, 1)
    assert put(cache, tmp_path)
    assert fetch(cache, data, tmp_path) == data


def temporary(count: int) -> list[RemoteError]:
    return [RemoteError("it hiccups", temporary=True)] * count


def test_a_call_that_fails_now_and_then_is_made_again(open_cache: Open, adapter: Failing, tmp_path: Path) -> None:
    cache, told = open_cache()
    put(cache, tmp_path)
    adapter.errors = temporary(3)
    assert cache.get_result(ACTION, []) == b"result"
    assert (adapter.calls, told, cache.traffic.failures) == (4, [], 0)


def test_a_cache_that_is_gone_is_given_up_and_that_is_said_once(open_cache: Open, adapter: Failing) -> None:
    cache, told = open_cache()
    adapter.errors = temporary(100)
    for _ in range(5):
        assert cache.get_result(ACTION, []) is None
    assert adapter.calls == 5
    assert told == ["it hiccups; the build goes on without the remote cache"]


def test_what_will_not_pass_is_not_tried_again(open_cache: Open, adapter: Failing, tmp_path: Path) -> None:
    cache, told = open_cache()
    put(cache, tmp_path)
    adapter.errors = [RemoteError("no")]
    assert cache.get_result(ACTION, []) is None
    assert (adapter.calls, len(told), cache.lost) == (1, 1, "")
    assert cache.get_result(ACTION, []) == b"result"


def test_one_that_is_slow_is_given_up_after_two_calls(open_cache: Open, adapter: Failing) -> None:
    cache, told = open_cache()
    adapter.errors = [RemoteError("too slow", slow=True)] * 10
    for _ in range(5):
        assert cache.get_result(ACTION, []) is None
    assert adapter.calls == 2
    assert told[-1] == "too slow; the build goes on without the remote cache"


def test_trouble_with_one_that_is_required_is_an_error_from_then_on(open_cache: Open, adapter: Failing) -> None:
    cache, told = open_cache(required=True)
    adapter.errors = temporary(100)
    for _ in range(2):
        with pytest.raises(WorkspaceError, match=r"it hiccups \(--remote-required\)"):
            cache.get_result(ACTION, [])
    assert (adapter.calls, told) == (5, [])


def test_one_that_is_not_there_at_the_start(open_cache: Open, adapter: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    def describe(self: Any) -> str:
        raise RemoteError("nobody is there")

    monkeypatch.setattr(Failing, "describe", describe)
    cache, told = open_cache()
    assert (cache.reach(), len(told), cache.lost) == ("", 1, "nobody is there")
    with pytest.raises(WorkspaceError, match="nobody is there"):
        open_cache(required=True)[0].reach()


def test_a_slow_cache_that_serves_an_executor_is_asked_again(open_cache: Open, adapter: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enginewright.remote.attempts._TURN", 0.001)
    cache, told = open_cache(patient=True)
    adapter.errors = [RemoteError("it did not answer", slow=True)] * 3
    assert cache.get_result(ACTION, []) is None and adapter.calls == 4 and not cache.lost
    assert told == ["it did not answer; it is asked again, and given more time"]
