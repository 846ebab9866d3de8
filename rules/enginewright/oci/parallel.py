"""Doing the same for several things at a time, in threads that nobody waits for after a Ctrl-C."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(work: Callable[[T], R], items: Sequence[T], jobs: int, cancelled: threading.Event) -> list[R]:
    """``work`` of each item, in the order of the items, at most ``jobs`` at a time, the first ones first.

    The first exception, or a Ctrl-C, sets ``cancelled``, which ``work`` is to heed, and is raised. The threads are daemons: what is still
    waiting for a server then goes with the process, and does not hold it up.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, R | None, BaseException | None]] = queue.SimpleQueue()
    for number in range(len(items)):
        waiting.put(number)

    def run() -> None:
        while not cancelled.is_set():
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, work(items[number]), None))
            except BaseException as error:
                done.put((number, None, error))

    for _ in range(min(jobs, len(items))):
        threading.Thread(target=run, daemon=True).start()
    results: dict[int, R] = {}
    try:
        while len(results) < len(items):
            number, result, error = done.get()
            if error is not None:
                raise error
            results[number] = result  # type: ignore[assignment]
    except BaseException:
        cancelled.set()
        raise
    return [results[number] for number in range(len(items))]
