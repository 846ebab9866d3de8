"""What a comparison comes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

BIT, NUMERICAL, NONE = "bit", "numerical", "none"
"""The same bytes; other bytes that compute the same, within tolerance; neither."""

CLASSES = (BIT, NUMERICAL, NONE)
"""From the best to the worst."""

MOST = 50
"""How many findings about one artifact are kept; the last one then says how many there are."""


class Finding(NamedTuple):
    """One thing that differs: ``where`` in the artifact, as ``tensor encoder.weight``, and ``what`` about it."""

    where: str
    what: str


@dataclass(frozen=True)
class Comparison:
    """``reproducible`` is one of `CLASSES`; ``basis`` says what "numerical" rests on, or why it could not be said."""

    reproducible: str
    findings: tuple[Finding, ...] = ()
    basis: str = ""


SAME = Comparison(BIT)


def worst(classes: Iterable[str]) -> str:
    """The worst of several classes; `BIT` of none."""
    return max(classes, key=CLASSES.index, default=BIT)


def differing(reproducible: str, findings: Iterable[Finding], basis: str = "") -> Comparison:
    """A comparison of two artifacts that differ, of whose differences the first `MOST` are told."""
    found = list(findings)
    if len(found) > MOST:
        found[MOST:] = [Finding("", f"and {len(found) - MOST} more differences")]
    return Comparison(reproducible, tuple(found), basis)


def within(where: str, findings: Iterable[Finding]) -> list[Finding]:
    """Findings about a part, as findings about the whole."""
    return [Finding(f"{where}: {each.where}" if each.where else where, each.what) for each in findings]
