"""Builds that are killed, at any moment, with all that they started."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginewright.execute.sandbox import MEMORY
from enginewright.store.scratch import sweep
from mixed import set_source, write_mixed
from throwaway import Workspace

KILLS = int(os.environ.get("ENGINEWRIGHT_KILLS") or (200 if os.environ.get("CI") else 20))
"""Set the variable for a longer run."""

_PR_SET_CHILD_SUBREAPER = 36


class Orphans:
    """The processes that those we kill leave behind: they become children of this one."""

    def __init__(self) -> None:
        self._ours = self._children()

    def wait(self) -> None:
        """Wait until they have ended. It is much less than the actions would take, were they let live."""
        deadline = time.monotonic() + 60
        while left := self._children() - self._ours:
            for process in left:
                os.waitpid(process, os.WNOHANG)
            assert time.monotonic() < deadline, [Path(f"/proc/{process}/cmdline").read_bytes() for process in left]
            time.sleep(0.01)

    def _children(self) -> set[int]:
        return {int(child) for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()}


@pytest.fixture
def orphans() -> Iterator[Orphans]:
    libc = ctypes.CDLL(None)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1) == 0
    yield Orphans()
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)


def run_and_kill(workspace: Workspace, arguments: list[str], after: float) -> None:
    """Run `doit`, and kill its process group after some seconds, unless it ends before that, and well."""
    process = workspace.start(*arguments, process_group=0)
    try:
        out, err = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    told = f"{' '.join(arguments)}: {process.returncode}\n{out}\n{err}"
    assert process.returncode in (0, -signal.SIGKILL), told
    assert not any(word in told for word in ("Traceback", "ERROR", "FAILED")), told


def test_builds_that_are_killed_at_any_moment_leave_nothing_wrong(empty: Workspace, tmp_path: Path, orphans: Orphans) -> None:
    seed = int(os.environ.get("ENGINEWRIGHT_SEED") or time.time_ns() % 10**6)
    print(f"ENGINEWRIGHT_SEED={seed} ENGINEWRIGHT_KILLS={KILLS}")
    chance = random.Random(seed)
    write_mixed(empty)
    undisturbed = empty.clone(tmp_path / "undisturbed", tmp_path / "another store")
    started = time.monotonic()
    undisturbed.doit("build")
    usual = time.monotonic() - started
    for kill in range(1, KILLS + 1):
        number = chance.choice((kill, chance.randrange(kill)))  # something new, or what the store may still have
        set_source(empty, number)
        arguments = ["cache", "gc", "--max-size", "1MB"] if chance.random() < 0.1 else ["build", "-n", "4"]
        run_and_kill(empty, arguments, after=chance.uniform(0, usual))
        if kill % 10 and kill < KILLS:
            continue  # the next build is the one that is killed next
        orphans.wait()
        set_source(undisturbed, number)
        undisturbed.doit("build")
        empty.doit("build")
        assert empty.files() == undisturbed.files()
        empty.doit("cache", "verify")
        in_memory = set(MEMORY.iterdir())
        empty.doit("cache", "gc")
        assert [*empty.leftovers(), *empty.store.rglob("*.part")] == []
        assert in_memory.isdisjoint(sweep(MEMORY))  # others on this machine may kill builds too, at any moment
    orphans.wait()
