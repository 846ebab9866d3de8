from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given

from enginewright.graph.dag import Graph
from enginewright.graph.layout import Layout, Line, Place, layout
from graphs import random_graphs

# What builds are like: a model in three layers, an engine for each architecture, and an image of them all.
FAN = {
    "weights": [],
    "onnx": ["weights"],
    "engine_a": ["onnx"],
    "engine_b": ["onnx"],
    "engine_c": ["onnx"],
    "image": ["engine_a", "engine_b", "engine_c"],
}


def crossings(found: Layout[str]) -> int:
    """How many pairs of lines between the same two layers cross."""
    return sum(
        one.layer == other.layer and (one.start - other.start) * (one.end - other.end) < 0 for one, other in combinations(found.lines, 2)
    )


def test_a_fan_is_drawn_around_its_middle() -> None:
    assert layout(FAN).places == {
        "weights": Place(0, 1),
        "onnx": Place(1, 1),
        "engine_a": Place(2, 0),
        "engine_b": Place(2, 1),
        "engine_c": Place(2, 2),
        "image": Place(3, 1),
    }


def test_a_line_that_passes_a_layer_keeps_clear_of_its_nodes() -> None:
    found = layout({"a": [], "b": ["a"], "c": ["b", "a"], "d": ["a", "c"]})
    passing = {(line.layer + 1, line.end) for line in found.lines if not line.arrives}
    assert sorted(layer for layer, _ in passing) == [1, 2]
    for layer, row in passing:
        assert all(abs(row - place.row) > 0.6 for place in found.places.values() if place.layer == layer)


def test_lines_from_one_node_part_only_where_they_must() -> None:
    found = layout({"a": [], "b": ["a"], "c": ["b"], "d": ["c", "a"], "e": ["c", "a"]})
    passing = [line for line in found.lines if not line.arrives]
    assert [line.layer for line in passing] == [0, 1]
    assert sum(line.arrives for line in found.lines) == 6


def test_lines_of_a_tree_do_not_cross() -> None:
    tree: dict[str, list[str]] = {"": []}
    for word in ("".join(letters) for length in range(1, 4) for letters in sorted(_words(length), key=lambda word: word[::-1])):
        tree[word] = [word[:-1]]
    assert crossings(layout(tree)) == 0


def _words(length: int) -> list[str]:
    return [""] if length == 0 else [word + letter for word in _words(length - 1) for letter in "abc"]


def test_parts_that_nothing_connects_lie_below_each_other() -> None:
    two = layout({f"{name} {i}": [f"{dep} {i}" for dep in deps] for name, deps in FAN.items() for i in (1, 2)})
    first, second = ({place.row for name, place in two.places.items() if name.endswith(i)} for i in ("1", "2"))
    assert max(first) + 1 < min(second)
    assert [place._replace(row=place.row - min(second)) for name, place in two.places.items() if name.endswith("2")] == [
        *layout(FAN).places.values()
    ]


def test_a_dependency_that_is_not_drawn_is_left_out() -> None:
    assert layout({"b": ["a"], "c": ["b"]}) == Layout({"b": Place(0, 0), "c": Place(1, 0)}, [Line(0, 0, 0, True)])
    assert layout({}) == Layout({}, [])


def test_a_chain_may_be_longer_than_pythons_stack() -> None:
    found = layout({i: {i - 1, 0} - {i} if i else () for i in range(1500)})
    assert found.places[1499].layer == 1499


@given(random_graphs())
def test_layers_rows_and_lines_of_any_graph(graph: Graph) -> None:
    found = layout(graph.deps)
    assert set(found.places) == set(graph.deps)
    columns: dict[int, list[float]] = {}
    for label, deps in graph.deps.items():
        place = found.places[label]
        assert place.layer == 1 + max((found.places[dep].layer for dep in deps), default=-1)
        assert place.row >= 0
        columns.setdefault(place.layer, []).append(place.row)
    assert all(below - above > 1 - 1e-9 for column in columns.values() for above, below in pairwise(sorted(column)))
    # Following the lines from where a node stands leads to just those that depend on it.
    standing = {place: label for label, place in found.places.items()}
    for label, place in found.places.items():
        reached, waiting = set(), [place]
        for layer, row in waiting:
            for line in found.lines:
                if (line.layer, line.start) == (layer, row):
                    end = Place(layer + 1, line.end)
                    if line.arrives:
                        reached.add(standing[end])
                    else:
                        waiting.append(end)
        assert reached == {user for user, deps in graph.deps.items() if label in deps}
