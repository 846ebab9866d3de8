from __future__ import annotations

import json
import os
import resource
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.store.results import ActionCache, Output, Result, write_atomically

KEY = "0123456789abcdef" * 2
RESULT = Result(
    key=KEY,
    label="models/x:onnx",
    material={"mnemonic": "Onnx", "params": {"opset": 20, "names": ["a", "é"]}, "inputs": {"net": ["models/x/net.py", "a" * 32]}},
    outputs={"onnx": Output("build/models/x/onnx.onnx", "b" * 32, 12), "tree": Output("build/models/x/t", "c" * 32, 0, tree=True)},
    started=1700000000.25,
    seconds=1.5,
    peak_rss=1 << 40,
    host="host",
    sandbox="audit",
)


@pytest.fixture
def cache(tmp_path: Path) -> ActionCache:
    return ActionCache(tmp_path / "actions")


@pytest.fixture
def record(cache: ActionCache, tmp_path: Path) -> Path:
    """The file of a result in the cache."""
    cache.put(RESULT)
    return tmp_path / "actions" / KEY[:2] / f"{KEY}.json"


def test_a_result_is_found_by_its_key(cache: ActionCache, tmp_path: Path) -> None:
    assert cache.get(KEY) is None
    cache.put(RESULT)
    assert cache.get(KEY) == RESULT
    assert ActionCache(tmp_path / "actions").get(KEY) == RESULT
    assert cache.get("f" * 32) is None


def test_a_newer_result_replaces_an_older_and_a_dropped_one_is_gone(cache: ActionCache) -> None:
    cache.put(RESULT)
    cache.put(replace(RESULT, seconds=2.0))
    assert cache.get(KEY) == replace(RESULT, seconds=2.0)
    cache.drop(KEY)
    cache.drop(KEY)
    assert cache.get(KEY) is None


def test_a_use_shows_in_the_time_of_the_record_and_a_look_does_not(cache: ActionCache, record: Path) -> None:
    os.utime(record, (1, 1))
    assert cache.get(KEY) == RESULT
    assert record.stat().st_mtime == 1
    cache.use(KEY)
    assert record.stat().st_mtime > 1
    assert cache.get(KEY) == RESULT
    cache.use("f" * 32)  # one that is gone
    assert cache.get("f" * 32) is None


def test_a_record_is_json_that_everybody_may_read(record: Path) -> None:
    assert json.loads(record.read_bytes())["outputs"]["onnx"] == {
        "path": "build/models/x/onnx.onnx", "digest": "b" * 32, "size": 12, "tree": False,
    }  # fmt: skip
    assert stat.S_IMODE(record.stat().st_mode) == 0o644


@given(st.data())
def test_a_truncated_record_is_a_miss(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("actions")
    cache = ActionCache(root)
    cache.put(RESULT)
    path = root / KEY[:2] / f"{KEY}.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 3))])  # without the closing brace
    assert cache.get(KEY) is None


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"{}", b"3", b"\xff\xfe", b'{"outputs": []}', b'{"outputs": {"a": null}}', b'{"outputs": {}}']
)
def test_a_record_of_something_else_is_a_miss(cache: ActionCache, record: Path, content: bytes) -> None:
    record.write_bytes(content)
    assert cache.get(KEY) is None


@pytest.mark.parametrize("change", [{"key": "f" * 32}, {"surprise": 1}, {"outputs": {"onnx": {"path": "a"}}}, {"outputs": None}])
def test_a_record_that_does_not_fit_is_a_miss(cache: ActionCache, record: Path, change: dict[str, Any]) -> None:
    record.write_text(json.dumps({**json.loads(record.read_bytes()), **change}))
    assert cache.get(KEY) is None


def test_a_folder_in_the_place_of_a_record_is_a_miss(cache: ActionCache, record: Path) -> None:
    record.unlink()
    record.mkdir()
    assert cache.get(KEY) is None


def test_readers_see_whole_records_while_writers_replace_them(cache: ActionCache) -> None:
    cache.put(RESULT)

    def work(i: int) -> bool:
        if i % 2:
            cache.put(replace(RESULT, seconds=float(i)))
        return cache.get(KEY) is not None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))


def test_an_atomic_write_that_fails_leaves_the_old_bytes_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError):
            write_atomically(file, b"x" * 8192)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_atomic_write_that_cannot_begin_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        write_atomically(tmp_path / "missing/file", b"x")
    assert refused.value.filename == str(tmp_path / "missing/file")
