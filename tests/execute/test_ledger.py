from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.execute.ledger import KEPT, Entry, Line, append, fold, read, state_after
from enginewright.graph.key import Material
from materials import MATERIALS, WORDS

MATERIAL = Material(
    mnemonic="M", run="m:f", params={"times": 1}, requires={}, inputs={"src": ("x/src.txt", "a" * 32)}, outputs={"out": "build/x/a"},
    code={"m": "b" * 32}, toolchain={"onnx": "1.18.0"}, platform="p",
)  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def build(number: int, **targets: str) -> Line:
    """A build that gave targets these keys; an empty one for a target that it skipped."""
    entries = {
        label: Entry("built", key, material=MATERIAL, build=f"b{number}")
        if key
        else Entry("skipped", reason="needs a GPU", build=f"b{number}")
        for label, key in targets.items()
    }
    return Line(f"b{number}", 1.5, 0.25, ["x:a"], "desk", 2, entries)


def keys(state: dict[str, Entry]) -> dict[str, tuple[str, str]]:
    return {label: (entry.build, entry.key) for label, entry in state.items()}


@given(
    material=MATERIALS | st.none(),
    texts=st.lists(WORDS, min_size=6, max_size=6),
    numbers=st.tuples(*[st.integers(0, 1000).map(lambda each: each / 8)] * 2, st.integers(0, 9), st.integers(0)),
)
def test_a_build_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, material: Material | None, texts: list[str], numbers
) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    status, key, previous, sandbox, reason, label = texts
    entry = Entry(status, key, previous, *numbers, sandbox, reason, material, "b1")
    line = replace(build(1), targets={label: entry})
    append(path, line)
    (found,) = read(path)
    # Lists come back for tuples, which mean the same in a key.
    assert found == replace(line, targets={label: replace(entry, material=found.targets[label].material)})
    read_back = found.targets[label].material
    assert (read_back and read_back.key()) == (material and material.key())


def test_without_a_ledger_there_are_no_builds(ledger: Path) -> None:
    assert read(ledger) == []
    assert not ledger.exists()


def test_a_table_stands_once_in_a_line(ledger: Path) -> None:
    other = replace(MATERIAL, code={"m": "c" * 32}, toolchain=dict(MATERIAL.toolchain))
    append(ledger, replace(build(1), targets={"x:a": Entry("built", material=MATERIAL), "x:b": Entry("built", material=other)}))
    tables = json.loads(ledger.read_text())["tables"]
    assert (len(tables["code"]), list(tables["toolchain"].values())) == (2, [{"onnx": "1.18.0"}])


@pytest.mark.parametrize("torn", ["{", "{}", '{"format": 1, "id": "b2", "targets": {', "\0" * 5000, "x" * 3_000_000])
def test_what_a_killed_process_left_is_ignored_and_cut_off(ledger: Path, torn: str) -> None:
    append(ledger, build(1, a="1"))
    whole = ledger.read_bytes()
    with ledger.open("a") as file:
        file.write(torn)
    assert [line.id for line in read(ledger)] == ["b1"]
    append(ledger, build(3, a="3"))
    assert [line.id for line in read(ledger)] == ["b1", "b3"]
    assert ledger.read_bytes().startswith(whole + b'{"format":1,"id":"b3",')


def test_a_killed_first_append_is_ignored_and_cut_off(ledger: Path) -> None:
    append(ledger, build(1, a="1"))
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:-1])
    assert read(ledger) == []
    append(ledger, build(1, a="1"))
    assert ledger.read_bytes() == whole


@pytest.mark.parametrize(
    "damaged", ["", "nothing", "[]", "{}", '{"format": 2}', '{"format": 1, "id": "b2", "targets": {"a": {}}}', "\udcff"]
)
def test_a_line_that_cannot_be_read_is_passed_over(ledger: Path, damaged: str) -> None:
    append(ledger, build(1, a="1"))
    with ledger.open("a", errors="surrogateescape") as file:
        file.write(damaged + "\n")
    append(ledger, build(3, a="3"))
    assert [line.id for line in read(ledger)] == ["b1", "b3"]


def test_folding_gives_the_last_state_of_each_target_that_was_not_skipped() -> None:
    lines = [build(1, a="1", b="1"), build(2, a="2", c=""), build(3, c="3", b="")]
    assert keys(fold(lines)) == {"b": ("b1", "1"), "a": ("b2", "2"), "c": ("b3", "3")}
    assert list(fold(lines)) == ["b", "a", "c"]
    assert keys(state_after(lines, "b2")) == {"b": ("b1", "1"), "a": ("b2", "2")}
    assert state_after(lines, "b9") == {}


def test_older_builds_are_folded_into_the_base_and_nothing_is_lost_of_the_state(ledger: Path) -> None:
    every, states = [], {}
    for number in range(260):
        line = build(number, **{f"t{number % 7}": str(number)}, **{f"once{number}": str(number)} if number % 10 == 0 else {})
        append(ledger, line)
        every.append(line)
        states[line.id] = keys(fold(every))
        found = read(ledger)
        assert len(found) < 100
        assert [each.id for each in found if each.id][-KEPT:] == [each.id for each in every[-KEPT:]]
        assert keys(fold(found)) == states[line.id]
    found = read(ledger)
    assert [line.id for line in found].index("") == 0
    for line in found[1:]:
        assert keys(state_after(found, line.id)) == states[line.id]
    # Of a build in the base is known what no later one overwrote there.
    for number in (0, 100):
        known = keys(state_after(found, f"b{number}"))
        assert known.items() <= states[f"b{number}"].items()
        assert known[f"once{number}"] == (f"b{number}", str(number))
