from __future__ import annotations

from collections.abc import Mapping

from enginewright.graph.cause import Cause, Fact, explain
from enginewright.graph.key import Material


def fact(label: str, inputs: Mapping[str, str], *events: str, **params: int) -> Fact:
    """A target that makes ``out/LABEL`` of inputs, given as their digests by path."""
    material = Material(
        mnemonic="M", run="m:f", params=params, requires={}, inputs={path: (path, digest) for path, digest in inputs.items()},
        outputs={"out": f"out/{label}"}, code={}, toolchain={}, platform="",
    )  # fmt: skip
    return Fact(material, events)


def told(found: Mapping[str, list[Cause]]) -> dict[str, list[str]]:
    """Causes in short: a kind, and what it is of."""
    return {
        label: [f"{cause.difference.kind} {cause.target or cause.difference.name}".strip() for cause in each]
        for label, each in found.items()
    }


OLD = {
    "a": fact("a", {"src": "1"}),
    "b": fact("b", {"out/a": "2"}),
    "c": fact("c", {"out/a": "2"}),
    "d": fact("d", {"out/b": "3", "out/c": "4"}),
}


def test_causes_lead_from_input_to_input_down_to_the_source() -> None:
    new = {"a": fact("a", {"src": "9"}), "b": fact("b", {"out/a": "8"}), "c": OLD["c"], "d": fact("d", {"out/b": "7", "out/c": "4"})}
    assert told(explain("d", OLD, new)) == {"d": ["input b"], "b": ["input a"], "a": ["input src"]}


def test_what_made_the_same_bytes_again_is_no_cause() -> None:
    new = {**OLD, "a": fact("a", {"src": "9"}), "d": fact("d", {"out/b": "3", "out/c": "4"}, times=2)}
    assert told(explain("d", OLD, new)) == {"d": ["parameter times"]}


def test_what_two_inputs_have_in_common_is_told_once() -> None:
    new = {
        "a": fact("a", {"src": "9"}),
        "b": fact("b", {"out/a": "8"}),
        "c": fact("c", {"out/a": "8"}),
        "d": fact("d", {"out/b": "7", "out/c": "6"}),
    }
    assert told(explain("d", OLD, new)) == {"d": ["input b", "input c"], "b": ["input a"], "c": ["input a"], "a": ["input src"]}


def test_what_is_yet_to_be_made_may_change_where_something_upstream_did() -> None:
    new = {
        "a": OLD["a"],
        "b": fact("b", {"out/a": "2"}, times=2),
        "c": fact("c", {"out/a": ""}),
        "d": fact("d", {"out/b": "", "out/c": ""}),
    }
    found = explain("d", OLD, new)
    assert told(found) == {"d": ["input b"], "b": ["parameter times"], "c": [], "a": []}
    assert found["d"][0].possible


def test_an_event_is_told_of_the_target_itself_and_where_nothing_else_explains_an_input() -> None:
    new = {**OLD, "a": fact("a", {"src": "9"}, "forgotten"), "b": fact("b", {"out/a": "8"}, "forgotten")}
    assert told(explain("b", OLD, new)) == {"b": ["event forgotten", "input a"], "a": ["input src"]}
    new = {**OLD, "a": fact("a", {"src": "1"}, "forgotten"), "b": fact("b", {"out/a": ""})}
    assert told(explain("b", OLD, new)) == {"b": ["input a"], "a": ["event forgotten"]}


def test_other_bytes_of_the_same_inputs_are_a_cause_of_their_own() -> None:
    new = {**OLD, "a": fact("a", {"src": "1"}, "forgotten"), "b": fact("b", {"out/a": "8"})}
    assert told(explain("b", OLD, new)) == {"b": ["input a"], "a": ["event forgotten", "bytes"]}


def test_a_new_target_is_told_from_one_that_is_not_remembered() -> None:
    assert told(explain("a", {}, OLD)) == {"a": ["new"]}
    new = {**OLD, "b": fact("b", {"out/a": "8"})}
    assert told(explain("b", {"b": OLD["b"]}, new)) == {"b": ["input a"], "a": ["unknown"]}


def test_an_input_that_is_new_or_gone_is_a_root_cause() -> None:
    new = {**OLD, "b": fact("b", {"out/a": "2", "out/c": "4", "more": "5"})}
    assert told(explain("b", OLD, new)) == {"b": ["input more", "input c"]}
    assert told(explain("b", new, OLD)) == {"b": ["input more", "input c"]}


def test_facts_of_different_times_that_go_in_a_circle_are_explained_too() -> None:
    old = {"a": fact("a", {"out/b": "1"}), "b": fact("b", {"out/a": "1"})}
    new = {"a": fact("a", {"out/b": "2"}), "b": fact("b", {"out/a": "2"})}
    assert told(explain("a", old, new)) == {"a": ["input b"], "b": ["input a"]}
    new = {"a": fact("a", {"out/b": ""}), "b": fact("b", {"out/a": ""})}
    assert told(explain("a", old, new)) == {"a": [], "b": []}


def test_a_chain_may_be_deep() -> None:
    def chain(digest: str) -> dict[str, Fact]:
        return {f"t{i}": fact(f"t{i}", {f"out/t{i - 1}" if i else "src": f"{digest}{i}"}) for i in range(3000)}

    found = explain("t2999", chain("a"), chain("b"))
    assert told({"t0": found["t0"], "t1": found["t1"]}) == {"t0": ["input src"], "t1": ["input t0"]}
    assert len(found) == 3000
