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

_SLOW = 6
"""How often a call to a server that works off a queue may take too long, which is longer each time (`enginewright.remote.channel`)."""


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

    Raises as `persistently` does.
    """
    patience = Patience(stopped)
    while True:
        try:
            return persistently(call, lambda: not stopped.is_set())
        except RemoteError as error:
            if not patience.lasts(error):
                raise


class Patience:
    """What is borne of a server that works off a queue: that it is full, until ``stopped`` is set, and that it is slow, as one is that
    is flooded, several times."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        self._slow = 0

    def lasts(self, error: RemoteError) -> bool:
        """Whether a call is to be made again after an error; if so, wait for its turn first."""
        self._slow += error.slow
        return (error.full or error.slow) and self._slow < _SLOW and not self._stopped.wait(_TURN * random.uniform(0.5, 1.5))
