"""Where the nodes of a graph go on paper: in layers, by the longest way from a source, with few crossings.

The steps are those of Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures" (1981):
layers; an edge over several layers gets a waypoint in each it passes; the order in a layer by barycentres. Rows are then
as close as can be to those of the neighbours, in least squares, without changing the order.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

N = TypeVar("N", bound=Hashable)

_WAYPOINT = 0.4
"""The height of a waypoint, where a node's is 1."""
_BETWEEN_PARTS = 0.5
"""How many empty rows lie between parts of the graph that nothing connects."""
_ORDERINGS = 8
_ALIGNMENTS = 8
"""How many times to go over all layers there and back. More changes little, in graphs as builds have them."""


class Place(NamedTuple):
    """Layers count from 0. Rows do too, are a node's height, and may be fractions."""

    layer: int
    row: float


class Line(NamedTuple):
    """A piece of an edge, from row ``start`` of ``layer`` to row ``end`` of the next; ``arrives`` when it ends at a node."""

    layer: int
    start: float
    end: float
    arrives: bool


class Layout(NamedTuple, Generic[N]):
    """A place for each node, and the lines of all edges. No two nodes of a layer are less than a row apart.

    Edges from one node share their lines up to where they part.
    """

    places: dict[N, Place]
    lines: list[Line]


def layout(deps: Mapping[N, Iterable[N]]) -> Layout[N]:
    """Lay out the nodes of ``deps``, each given after those it depends on; dependencies that are no nodes are left out.

    Parts of the graph that nothing connects lie below each other.
    """
    places: dict[N, Place] = {}
    lines: list[Line] = []
    below = 0.0
    for part in _parts({node: [dep for dep in each if dep in deps] for node, each in deps.items()}):
        layers, rows, links = _lay_out(part)
        top = min(rows) - below
        places |= {node: Place(layers[i], rows[i] - top) for i, node in enumerate(part)}
        lines += [Line(layers[start], rows[start] - top, rows[end] - top, end < len(part)) for start, end in links]
        below += max(rows) - min(rows) + 1 + _BETWEEN_PARTS
    return Layout(places, lines)


def _parts(deps: Mapping[N, Sequence[N]]) -> list[dict[N, Sequence[N]]]:
    """The connected parts of a graph, and their nodes, in the order in which they are given."""
    neighbours: dict[N, list[N]] = {node: list(each) for node, each in deps.items()}
    for node, each in deps.items():
        for dep in each:
            neighbours[dep].append(node)
    part_of: dict[N, int] = {}
    parts: list[dict[N, Sequence[N]]] = []
    for root in deps:
        if root not in part_of:
            part_of[root] = len(parts)
            waiting = [root]
            for node in waiting:
                for neighbour in neighbours[node]:
                    if neighbour not in part_of:
                        part_of[neighbour] = len(parts)
                        waiting.append(neighbour)
            parts.append({})
    for node, each in deps.items():
        parts[part_of[node]][node] = each
    return parts


def _lay_out(deps: Mapping[N, Sequence[N]]) -> tuple[list[int], list[float], list[tuple[int, int]]]:
    """Lay out one part: the layers and the rows of its points, and the links from points to points of the next layer.

    The nodes are the first points, in their order; the others are waypoints.
    """
    number = {node: i for i, node in enumerate(deps)}
    layers: list[int] = []
    for each in deps.values():
        layers.append(1 + max((layers[number[dep]] for dep in each), default=-1))
    waypoints: dict[tuple[int, int], int] = {}
    links: dict[tuple[int, int], None] = {}
    for node, each in deps.items():
        for dep in each:
            point = number[dep]
            for layer in range(layers[point] + 1, layers[number[node]]):
                passed = waypoints.setdefault((number[dep], layer), len(deps) + len(waypoints))
                links[point, passed] = None
                point = passed
            links[point, number[node]] = None
    layers += [layer for _, layer in waypoints]
    columns: list[list[int]] = [[] for _ in range(max(layers) + 1)]
    before: list[list[int]] = [[] for _ in layers]
    after: list[list[int]] = [[] for _ in layers]
    for point, layer in enumerate(layers):
        columns[layer].append(point)
    for start, end in links:
        before[end].append(start)
        after[start].append(end)
    _order(columns, before, after)
    heights = [1.0] * len(deps) + [_WAYPOINT] * len(waypoints)
    return layers, _rows(columns, before, after, heights), list(links)


def _order(columns: list[list[int]], before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> None:
    """Sort every layer by the mean position of each point's neighbours in the layer before, then in the layer after, and so on."""
    position = {point: float(i) for column in columns for i, point in enumerate(column)}
    for sweep in range(2 * _ORDERINGS):
        neighbours, sequence = (before, columns) if sweep % 2 == 0 else (after, columns[::-1])
        for column in sequence:
            column.sort(key=lambda point: _mean([position[each] for each in neighbours[point]], position[point]))
            position.update((point, float(i)) for i, point in enumerate(column))


def _rows(
    columns: Sequence[Sequence[int]], before: Sequence[Sequence[int]], after: Sequence[Sequence[int]], heights: Sequence[float]
) -> list[float]:
    """A row for every point, near the mean of its neighbours' in the layers on both sides."""
    rows = [0.0] * len(heights)
    both = [[*left, *right] for left, right in zip(before, after)]
    for neighbours, sequence in [*[(before, columns), (after, columns[::-1])] * _ALIGNMENTS, (both, columns)]:
        for column in sequence:
            wanted = [_mean([rows[each] for each in neighbours[point]], rows[point]) for point in column]
            for point, row in zip(column, _apart(wanted, [heights[point] for point in column])):
                rows[point] = row
    return rows


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _apart(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """The rows nearest to ``wanted``, in least squares, at which things of these heights follow each other without overlap.

    Less the room that those before it take, each row may be anything but less than the one before: isotonic regression,
    by pooling adjacent violators.
    """
    offsets = [0.0]
    for above, below in pairwise(heights):
        offsets.append(offsets[-1] + (above + below) / 2)
    pools: list[tuple[float, int]] = []
    for row, offset in zip(wanted, offsets):
        total, size = row - offset, 1
        while pools and pools[-1][0] / pools[-1][1] > total / size:
            total, size = total + pools[-1][0], size + pools[-1][1]
            pools.pop()
        pools.append((total, size))
    means = [total / size for total, size in pools for _ in range(size)]
    return [mean + offset for mean, offset in zip(means, offsets)]
