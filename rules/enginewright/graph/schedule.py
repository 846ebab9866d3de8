"""How long a set of actions takes: the longest chain of them, and all of them on a number of processes."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

N = TypeVar("N", bound=Hashable)


def critical_path(deps: Mapping[N, Sequence[N]], seconds: Mapping[N, float]) -> list[N]:
    """The chain of actions, each after one it depends on, that takes longest; empty when there is nothing to do.

    ``deps`` has the edges, each action after its dependencies; ``seconds`` what each takes.
    """
    longest: dict[N, float] = {}
    before: dict[N, N | None] = {}
    for node, needed in deps.items():
        before[node] = max(needed, key=longest.__getitem__, default=None)
        longest[node] = seconds[node] + (longest[slowest] if (slowest := before[node]) is not None else 0.0)
    chain: list[N] = []
    node_or_none = max(longest, key=longest.__getitem__, default=None)
    while node_or_none is not None:
        chain.append(node_or_none)
        node_or_none = before[node_or_none]
    return chain[::-1]


def makespan(deps: Mapping[N, Sequence[N]], seconds: Mapping[N, float], processes: int) -> float:
    """The seconds that all actions take on so many processes, by list scheduling: what is ready starts, in the order of ``deps``."""
    position = {node: i for i, node in enumerate(deps)}
    nodes = list(deps)
    missing = {node: len(set(needed)) for node, needed in deps.items()}
    users: dict[N, list[N]] = {node: [] for node in deps}
    for node, needed in deps.items():
        for each in set(needed):
            users[each].append(node)
    ready = [i for i, node in enumerate(nodes) if not missing[node]]
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < processes:
            i = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[nodes[i]], i))
        now, i = heapq.heappop(running)
        for user in users[nodes[i]]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, position[user])
    return now


def contracted(deps: Mapping[N, Sequence[N]], kept: Mapping[N, object]) -> dict[N, list[N]]:
    """The edges between the nodes that are kept; what lies between two of them is passed through."""
    through: dict[N, list[N]] = {}
    for node, needed in deps.items():
        through[node] = list(dict.fromkeys(each for dep in needed for each in ([dep] if dep in kept else through[dep])))
    return {node: found for node, found in through.items() if node in kept}
