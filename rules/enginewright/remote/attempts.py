"""Calls that are made again when they fail for a reason that may pass."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from enginewright.remote.errors import RemoteError

T = TypeVar("T")

_ATTEMPTS = 5
_FIRST_PAUSE = 0.1
"""Seconds before the second attempt, more or less; each further pause is twice as long."""

_TURN = 4.0
"""Seconds, more or less, after which a server that is full is asked again."""

_SLOW = 10
"""How often a call to a server that works off a queue may take too long."""


def persistently(call: Callable[[], T], still: Callable[[], bool] = lambda: True) -> T:
    """The value of a call, made several times if need be, for as long as ``still`` says so.

    Raises the RemoteError of the last attempt, or one that is not temporary.
    """
    pause = _FIRST_PAUSE
    for _ in range(_ATTEMPTS - 1):
        try:
            return call()
        except RemoteError as error:
            if not error.temporary or not still():
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause *= 2
    return call()


def patiently(call: Callable[[], T], stopped: threading.Event) -> T:
    """The value of a call to a server that works off a queue, and has nobody to stand in for it.

    While it is full it is asked again, until ``stopped`` is set, and when it is slow, as one is that is flooded, several times.
    Raises as `persistently` does.
    """
    slow = 0
    while True:
        try:
            return persistently(call, lambda: not stopped.is_set())
        except RemoteError as error:
            slow += error.slow
            if not (error.full or error.slow) or slow == _SLOW or await_turn(stopped):
                raise


def await_turn(stopped: threading.Event) -> bool:
    """Wait before a server that is full is asked again; whether ``stopped`` was set meanwhile."""
    return stopped.wait(_TURN * random.uniform(0.5, 1.5))
