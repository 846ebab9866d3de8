from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from enginewright.execute.resources import Need, Resources, alone_on_gpu, machine_memory, need, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("17", 17), ("6GB", 6 * 10**9), ("512MiB", 512 * 2**20), ("1.5G", 15 * 10**8), (" 2 kb ", 2000), ("1Ti", 2**40)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 potato", "1e3", "1GBB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


def test_what_is_declared_counts_more_than_what_was_learnt() -> None:
    assert need({}, 5) == Need(1, 5)
    assert need({"memory": "1KB", "cpu": "3", "gpu": "sm_90"}, 5) == Need(3, 1000, "sm_90")


def test_the_machine_has_memory() -> None:
    assert machine_memory() > 100 * 2**20


def most_at_once(resources: Resources, needs: list[Need], measure: Callable[[Need], int]) -> int:
    """Hold all of ``needs`` in threads, each until none can join it, and return the largest sum of ``measure`` seen."""
    lock, holding, most = threading.Lock(), list[Need](), [0]

    def hold(wanted: Need) -> None:
        with resources.hold(wanted):
            with lock:
                holding.append(wanted)
                most[0] = max(most[0], sum(map(measure, holding)))
            threading.Event().wait(0.02)
            with lock:
                holding.remove(wanted)

    threads = [threading.Thread(target=hold, args=[each]) for each in needs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most[0]


def test_memory_is_not_overcommitted() -> None:
    assert most_at_once(Resources(100, 10), [Need(1, 4)] * 10, lambda each: each.memory) == 8


def test_nor_are_processors() -> None:
    assert most_at_once(Resources(4, 0), [Need(2)] * 6, lambda each: each.cpu) == 4


def test_one_action_at_a_time_has_a_gpu() -> None:
    resources = Resources(100, 100)
    assert most_at_once(resources, [Need(gpu="sm_90")] * 4, lambda each: 1) == 1
    assert most_at_once(resources, [Need(gpu="sm_90"), Need(gpu="sm_80")] * 3, lambda each: 1) == 2


def test_what_needs_more_than_there_is_runs_alone() -> None:
    assert most_at_once(Resources(2, 10), [Need(1, 50), Need(1, 3), Need(1, 3)], lambda each: each.memory) == 50


@pytest.mark.parametrize("gpu", ["sm_90", ""])
def test_builds_in_other_workspaces_keep_off_the_gpu_too(tmp_path: Path, gpu: str) -> None:
    (tmp_path / "nvidia0").touch()
    entered, leave = threading.Event(), threading.Event()

    def other_build() -> None:
        with alone_on_gpu(gpu, lambda: False, tmp_path / "nvidia0"):
            entered.set()
            leave.wait(60)

    other = threading.Thread(target=other_build)
    with alone_on_gpu(gpu, lambda: False, tmp_path / "nvidia0"):
        other.start()
        assert entered.wait(0.5) == (gpu == "")
    assert entered.wait(60)
    # A build that was interrupted does not go on waiting.
    with alone_on_gpu(gpu, lambda: True, tmp_path / "nvidia0"):
        leave.set()
    other.join()


def test_a_machine_without_a_gpu_has_nothing_to_wait_for(tmp_path: Path) -> None:
    with alone_on_gpu("sm_90", lambda: False, tmp_path / "nvidia0"), alone_on_gpu("sm_90", lambda: False, tmp_path / "nvidia0"):
        pass
