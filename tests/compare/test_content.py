"""Files compared as bytes and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.compare.content import byte_differences, compare_bytes, compare_json, document_differences
from enginewright.compare.verdict import BIT, MOST, NONE, NUMERICAL, Finding, differing, worst


def files(folder: Path, first: bytes, second: bytes, suffix: str = ".bin") -> tuple[Path, Path]:
    for name, content in (("first", first), ("second", second)):
        (folder / f"{name}{suffix}").write_bytes(content)
    return folder / f"first{suffix}", folder / f"second{suffix}"


def test_bytes(tmp_path: Path) -> None:
    assert compare_bytes(*files(tmp_path, b"same", b"same")).reproducible == BIT
    found = compare_bytes(*files(tmp_path, b"0123456789", b"01x3456y89z"))
    assert found.reproducible == NONE
    assert found.findings == (Finding("size", "10 -> 11 bytes"), Finding("byte 2", "the first of 2 that differ"))
    assert compare_bytes(*files(tmp_path, b"01", b"02")).findings == (Finding("byte 1", "differs"),)


def test_a_part_of_the_bytes_beyond_a_chunk(tmp_path: Path) -> None:
    first = bytes(3 << 20)
    second = bytearray(first)
    second[5], second[(2 << 20) + 7] = 1, 1
    pair = files(tmp_path, first, bytes(second))
    assert list(byte_differences(*pair, start=6)) == [Finding(f"byte {(2 << 20) + 7}", "differs")]
    assert list(byte_differences(*pair, start=6, end=100)) == []


def compared(folder: Path, first: Any, second: Any, implied: tuple[str, ...] = ()) -> tuple[str, tuple[Finding, ...]]:
    found = compare_json(*files(folder, json.dumps(first).encode(), json.dumps(second).encode(), ".json"), implied)
    return found.reproducible, found.findings


def test_json_by_value(tmp_path: Path) -> None:
    assert compared(tmp_path, {"a": {"b": [1, "x"]}}, {"a": {"b": [1, "y", 2]}, "c": None}) == (
        NONE,
        (Finding("a.b[1]", '"x" -> "y"'), Finding("a.b[2]", "nothing -> 2"), Finding("c", "nothing -> null")),
    )


def test_json_that_differs_in_close_numbers_says_the_same(tmp_path: Path) -> None:
    assert compared(tmp_path, {"max_abs": 1.0e-7, "cosine": 0.99991}, {"max_abs": 3.0e-7, "cosine": 0.99992})[0] == NUMERICAL
    assert compared(tmp_path, {"max_abs": 0.1}, {"max_abs": 0.2})[0] == NONE
    assert compared(tmp_path, {"ok": True}, {"ok": False})[0] == NONE
    assert compared(tmp_path, [1], [1.0])[0] == NUMERICAL


def test_json_that_follows_from_another_output_does_not_count(tmp_path: Path) -> None:
    one, other = ({"engine": {"sha256": digest, "size": 1}, "arch": "sm_80"} for digest in "ab")
    assert compared(tmp_path, one, other)[0] == NONE
    assert compared(tmp_path, one, other, ("engine.sha256",))[0] == NUMERICAL
    assert compared(tmp_path, one, {**other, "arch": "sm_86"}, ("engine.sha256",))[0] == NONE


def test_json_that_is_written_otherwise_and_what_is_no_json(tmp_path: Path) -> None:
    found = compare_json(*files(tmp_path, b'{"a": 1}', b'{"a":1}'))
    assert (found.reproducible, found.basis) == (NUMERICAL, "the documents say the same, and are written otherwise")
    assert compare_json(*files(tmp_path, b'{"a": 1}', b"nothing")).reproducible == NONE


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(documents, documents)
def test_documents_differ_where_they_are_not_equal(one: Any, other: Any) -> None:
    assert list(document_differences(one, one)) == []
    unlike = json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True)
    assert bool(list(document_differences(one, other))) == unlike


def test_of_many_findings_some_are_kept() -> None:
    kept = differing(NONE, (Finding(str(i), "differs") for i in range(1000))).findings
    assert len(kept) == MOST + 1
    assert kept[-1] == Finding("", f"and {1000 - MOST} more differences")


@pytest.mark.parametrize(("classes", "expected"), [([], BIT), ([BIT, NUMERICAL], NUMERICAL), ([NONE, BIT], NONE)])
def test_the_worst_counts(classes: list[str], expected: str) -> None:
    assert worst(classes) == expected
