"""Graphs made by hand, for what looks at a graph and does not care where it comes from."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from enginewright.graph.action import Action, Artifact
from enginewright.graph.dag import Graph, Target
from enginewright.graph.label import Label
from enginewright.graph.rule import Location


def label(text: str) -> Label:
    return Label.parse(text, "models/x")


def target(text: str, kind: str = "model", deps: Iterable[str] = (), writes: Iterable[str] = (), **attributes: str) -> Target:
    """A target, with an action if it writes something."""
    action = Action("Make", "rules:make", {}, {path: Artifact(path) for path in writes}) if writes else None
    name = label(text)
    return Target(name, kind, Location(f"{name.package}/BUILD.py", 3), tuple(map(label, deps)), action, attributes)


def graph(*targets: Target) -> Graph:
    """The graph of targets, which are given each after those it depends on."""
    found = {each.label: each for each in targets}
    return Graph({name: each.deps for name, each in found.items()}, found, {name for name, each in found.items() if each.action is None})


def random_graphs(most: int = 12) -> st.SearchStrategy[Graph]:
    """Any graph without cycles, of at most so many targets in two packages."""

    def made(edges: list[set[int]]) -> Graph:
        names = [f"models/{'xy'[i % 2]}:t{i}" for i in range(len(edges))]
        return graph(*(target(names[i], deps=[names[dep] for dep in sorted(deps) if dep < i]) for i, deps in enumerate(edges)))

    return st.lists(st.sets(st.integers(0, most - 1), max_size=4), min_size=1, max_size=most).map(made)
