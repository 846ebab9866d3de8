"""What actions take of the machine while they run, so that those that run at once fit.

An action's need is what it declares (``requires={"cpu": "4", "memory": "6GB", "gpu": "sm_90"}``); the memory that it does not
declare is what it took the last time. An action that needs more than is free waits; one that needs more than there is runs alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_GPU = Path("/dev/nvidia0")
_POLL_SECONDS = 0.2


class Need(NamedTuple):
    """``cpu`` processors, ``memory`` bytes, and all of one GPU when ``gpu`` names an architecture."""

    cpu: int = 1
    memory: int = 0
    gpu: str = ""


def need(requires: Mapping[str, str], learnt: int) -> Need:
    """The need of an action with these execution requirements that took ``learnt`` bytes of memory the last time."""
    memory = parse_size(requires["memory"]) if "memory" in requires else learnt
    return Need(int(requires.get("cpu", "1")), memory, requires.get("gpu", ""))


def parse_size(text: str) -> int:
    """Bytes, from ``6GB``, ``512MiB``, ``1.5G`` or a plain number. Raises ValueError for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", text.upper())
    if match is None:
        raise ValueError(f"{text!r} is no size: write it as '6GB' or '512MiB'")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def machine_memory() -> int:
    """The bytes of memory this machine, or the container it is, has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no such limit: there is no file, or it says "max"
        return total


@contextmanager
def alone_on_gpu(gpu: str, given_up: Callable[[], bool], device: Path = _GPU) -> Iterator[None]:
    """Wait until no action of another build on this machine has a GPU, or this one is given up, and keep others waiting.

    Two at once would disturb what each measures. The lock is on the driver's device file, which builds in all workspaces and of
    all users have in common. Nothing happens for an action without a GPU, or where there is no such file.
    """
    if not gpu or not os.access(device, os.R_OK):
        yield
        return
    with open(device, "rb", buffering=0) as file:
        while not given_up():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_POLL_SECONDS)
        yield


class Resources:
    """The processors and the memory, in bytes, that actions share."""

    def __init__(self, cpu: int, memory: int) -> None:
        self._free = Need(cpu, memory)
        self._busy_gpus: set[str] = set()
        self._running = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, wanted: Need) -> Iterator[None]:
        """Wait until ``wanted`` is free, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(wanted))
            self._take(wanted, 1)
        try:
            yield
        finally:
            with self._changed:
                self._take(wanted, -1)
                self._changed.notify_all()

    def _fits(self, wanted: Need) -> bool:
        if self._running == 0:
            return True
        return wanted.cpu <= self._free.cpu and wanted.memory <= self._free.memory and wanted.gpu not in self._busy_gpus

    def _take(self, wanted: Need, sign: int) -> None:
        self._running += sign
        self._free = Need(self._free.cpu - sign * wanted.cpu, self._free.memory - sign * wanted.memory)
        if wanted.gpu:
            (self._busy_gpus.add if sign > 0 else self._busy_gpus.discard)(wanted.gpu)
