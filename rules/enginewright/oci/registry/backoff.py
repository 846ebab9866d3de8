"""Trying again: after a while, and after longer each time."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

from enginewright.oci.registry.errors import Cancelled, Transient

T = TypeVar("T")

ATTEMPTS = 5
"""How often something is tried in all, without any progress in between."""

_FIRST = 0.5
_LONGEST = 30.0
_LONGEST_ASKED = 120.0
"""Seconds: the first pause, the longest one, and the longest for which a registry may ask."""


class Backoff:
    """The pauses between attempts at one thing. ``notice`` gets a line before each."""

    def __init__(self, cancelled: threading.Event, notice: Callable[[str], None]) -> None:
        self._cancelled = cancelled
        self._notice = notice
        self._failed = 0

    def wait(self, problem: Transient) -> None:
        """Pause after an attempt that failed. Raises the problem itself when there were enough, and Cancelled."""
        self._failed += 1
        asked = problem.retry_after
        if self._failed >= ATTEMPTS or (asked or 0) > _LONGEST_ASKED:
            raise problem
        # From half of it up, so that many clients that failed together do not come back together.
        pause = asked if asked is not None else min(_LONGEST, _FIRST * 2 ** (self._failed - 1)) * random.uniform(0.5, 1)
        self._notice(f"{problem}; trying again in {pause:.1f} s ({self._failed} of {ATTEMPTS - 1})")
        if self._cancelled.wait(pause):
            raise Cancelled

    def progressed(self) -> None:
        """Take note that the last attempt got further than those before: pauses begin anew."""
        self._failed = 0

    def retry(self, attempt: Callable[[], T]) -> T:
        """Call ``attempt`` until it raises no Transient, and return what it returns."""
        while True:
            try:
                return attempt()
            except Transient as problem:
                self.wait(problem)
