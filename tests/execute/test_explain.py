"""Explanations from a ledger with gaps: what was folded into its base, and builds that were killed before they wrote their line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from enginewright.execute.explain import past
from enginewright.execute.ledger import Entry, Line
from enginewright.graph.key import Material
from enginewright.store.results import Result


def material(label: str, **inputs: str) -> Material:
    """A target that makes ``out/LABEL`` of inputs, given as their digests by path."""
    return Material(
        mnemonic="M", run="m:f", params={}, requires={}, inputs={path: (path, digest) for path, digest in inputs.items()},
        outputs={"out": f"out/{label}"}, code={}, toolchain={}, platform="",
    )  # fmt: skip


def line(build: str, targets: Mapping[str, tuple[Material, str]], base: Mapping[str, str] | None = None) -> Line:
    """A build that gave targets these materials, with their previous keys; a base when the build of each target is given."""
    entries = {
        label: Entry("built", found.key(), previous, material=found, build=(base or {}).get(label, build))
        for label, (found, previous) in targets.items()
    }
    return Line(build, 0.0, 0.0, (), "", 1, entries)


def causes(lines: list[Line], label: str, build: str, records: Mapping[str, Material] | None = None) -> dict[str, list[tuple[str, ...]]]:
    def record(key: str) -> Result | None:
        found = (records or {}).get(key)
        return found and Result(key, label, asdict(found), {}, 0.0, 0.0, 0, "", "")

    found = past(lines, label, build, record).causes
    return {name: [(each.difference.kind, each.difference.name, each.target) for each in some] for name, some in found.items()}


P1, P2, P3 = (material("p", src=digest) for digest in "123")
X1, X2 = (material("x", **{"out/p": digest}) for digest in "12")


def test_a_target_upstream_that_ran_again_since_is_not_known_as_it_was() -> None:
    # x was built of p as of b1; p was built again in b2, and both builds were folded.
    base = line("", {"x": (X1, ""), "p": (P2, P1.key())}, base={"x": "b1", "p": "b2"})
    lines = [base, line("b3", {"p": (P3, P2.key()), "x": (X2, X1.key())})]
    assert causes(lines, "x", "b3") == {"x": [("input", "out/p", "p")], "p": [("unknown", "", "")]}
    assert causes(lines, "p", "b3") == {"p": [("input", "src", "")]}
    # Had p not run again, all would be known.
    base = line("", {"p": (P2, P1.key()), "x": (X1, "")}, base={"x": "b1", "p": "b1"})
    assert causes([base, lines[1]], "x", "b3") == {"x": [("input", "out/p", "p")], "p": [("input", "src", "")]}


def test_what_was_folded_is_explained_by_the_record_of_its_previous_key() -> None:
    lines = [line("", {"p": (P2, P1.key())}, base={"p": "b2"})]
    assert causes(lines, "p", "b2", {P1.key(): P1}) == {"p": [("input", "src", "")]}
    assert causes(lines, "p", "b2") == {"p": [("event", "what it was before is not known any more", "")]}


def test_a_build_that_wrote_no_line_is_made_up_for_by_the_record_of_the_previous_key() -> None:
    lines = [line("b1", {"p": (P1, "")}), line("b3", {"p": (P3, P2.key())})]
    assert causes(lines, "p", "b3", {P2.key(): P2}) == {"p": [("input", "src", "")]}
    assert causes(lines, "p", "b3") == {"p": [("event", "what it was before is not known any more", "")]}


def test_what_a_build_did_not_have_to_do_is_no_explanation() -> None:
    lines = [line("b1", {"p": (P1, "")}), line("b2", {"x": (X1, "")})]
    assert past(lines, "p", "b2", lambda key: None).status == "up to date"
    assert causes(lines, "x", "b2") == {"x": [("new", "", "")]}
