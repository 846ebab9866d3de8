"""The graph of a past build as a picture: what it did, and what that was made of, in the colours of what became of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from enginewright.execute.explain import facts
from enginewright.execute.ledger import Entry, Line
from enginewright.graph.cause import makers
from enginewright.graph.label import Label
from enginewright.graph.svg import Card, draw
from enginewright.report.history import Picture
from enginewright.report.page import COLOURS
from enginewright.report.words import duration

_MOST = 300
"""How many targets are drawn. A larger picture says little on one page, and makes it heavy."""


def picture(line: Line, before: Mapping[str, Entry], critical: Collection[str]) -> Picture:
    """The targets of a build, and those upstream of them as far as the ledger's state ``before`` it knows them.

    A target upstream that the build has no word of was up to date. ``critical`` are the labels to be marked.
    """
    state = {**before, **line.targets}
    made_by = makers(facts(state))
    deps: dict[str, list[str]] = {}
    waiting = list(line.targets)
    while waiting:
        label = waiting.pop()
        if label not in deps:
            deps[label] = _deps(state[label], state, made_by)
            waiting += deps[label]
    order = _ordered(deps)
    if len(order) > _MOST:
        return Picture(len(order))
    position = {label: number for number, label in enumerate(order)}
    cards = []
    for label in order:
        # What was put together from several builds could, in a workspace turned upside down, go round in a circle.
        known = [Label.parse(dep) for dep in deps[label] if position[dep] < position[label]]
        entry = line.targets.get(label)
        status = entry.status if entry else "up to date"
        cards.append(Card(Label.parse(label), known, status, "critical" * (label in critical), _about(status, state[label], entry)))
    return Picture(len(order), draw(cards, COLOURS))


def _deps(entry: Entry, state: Mapping[str, Entry], made_by: Mapping[str, str]) -> list[str]:
    """What a target reads the outputs of, so far as that is known."""
    paths = (path for path, _ in entry.material.inputs.values()) if entry.material else ()
    found = dict.fromkeys([*entry.deps, *(made_by[path] for path in paths if path in made_by)])
    return [label for label in found if label in state]


def _about(status: str, known: Entry, entry: Entry | None) -> list[str]:
    """The tooltip after the label."""
    did = f"{status} in {duration(entry.ended - entry.began)}" if entry and status != "skipped" else status
    material = known.material
    return [did, *([material.mnemonic, *material.outputs.values()] if material else []), *(known.reason.splitlines() if entry else [])]


def _ordered(deps: Mapping[str, Sequence[str]]) -> list[str]:
    """All labels, each after those it depends on, unless they go round in a circle."""
    order: dict[str, None] = {}
    begun: set[str] = set()
    waiting: list[tuple[str, bool]] = [(label, False) for label in reversed(list(deps))]
    while waiting:
        label, ready = waiting.pop()
        if ready:
            order[label] = None
        elif label not in begun:
            begun.add(label)
            waiting += [(label, True), *((dep, False) for dep in reversed(deps[label]))]
    return list(order)
