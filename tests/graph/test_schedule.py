from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from enginewright.graph.schedule import contracted, critical_path, makespan

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
SECONDS = {"a": 1.0, "b": 2.0, "c": 5.0, "d": 1.0}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[int, list[int]], dict[int, float]]:
    """Edges, each node after its dependencies, and what each takes: small whole numbers, so that sums are exact."""
    count = draw(st.integers(0, 12))
    deps = {node: sorted(draw(st.sets(st.sampled_from(range(node)), max_size=3))) if node else [] for node in range(count)}
    return deps, {node: float(draw(st.integers(0, 9))) for node in deps}


def test_the_critical_path_is_the_longest_chain() -> None:
    assert critical_path(DIAMOND, SECONDS) == ["a", "c", "d"]
    assert critical_path({}, {}) == []


def test_on_one_process_everything_takes_its_turn() -> None:
    assert makespan(DIAMOND, SECONDS, 1) == 9
    assert makespan(DIAMOND, SECONDS, 2) == makespan(DIAMOND, SECONDS, 8) == 7
    assert makespan({"a": [], "b": [], "c": []}, {"a": 2, "b": 1, "c": 1}, 2) == 2


@given(graphs(), st.integers(1, 4))
def test_no_schedule_is_shorter_than_the_critical_path_or_an_even_share(
    graph: tuple[dict[int, list[int]], dict[int, float]], processes: int
) -> None:
    deps, seconds = graph
    path = critical_path(deps, seconds)
    assert all(earlier in deps[later] for earlier, later in pairwise(path))
    longest, total = sum(seconds[node] for node in path), sum(seconds.values())
    taken = makespan(deps, seconds, processes)
    assert max(longest, total / processes) <= taken <= longest + (total - longest) / processes
    assert makespan(deps, seconds, 1) == total
    assert makespan(deps, seconds, max(1, len(deps))) == longest


def test_what_is_left_out_is_passed_through() -> None:
    assert contracted({**DIAMOND, "e": ["d", "b"]}, {"a": 0, "b": 0, "e": 0}) == {"a": [], "b": ["a"], "e": ["b", "a"]}
