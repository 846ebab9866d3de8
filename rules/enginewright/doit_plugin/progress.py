"""Live progress on a terminal: what runs now and what is left, drawn over itself below the lines that scroll.

The escape sequences are those of ECMA-48 that every terminal of today knows: cursor up, erase below, colours. The cursor is never
hidden, so there is nothing to put right when the process is killed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TextIO

_PERIOD = 0.2
"""Seconds between two drawings."""

_MOST = 8
"""How many running actions are shown, at most; the longest running first."""


class Running(NamedTuple):
    """An action that runs: for how many seconds, and how many it took the last time, when that is known."""

    label: str
    elapsed: float
    expected: float | None = None


class Colour:
    """What the first words of a line look like on a terminal: SGR parameters."""

    RED, GREEN, YELLOW, CYAN, FAINT = "31", "32", "33", "36", "2"


def is_live(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether lines written to ``stream`` can be drawn over, and somebody may be looking."""
    return stream.isatty() and environ.get("TERM", "dumb") != "dumb" and not environ.get("CI")


def area(running: Sequence[Running], left: int, cached: int, seconds: float, width: int, height: int) -> list[str]:
    """The lines of the status area, each shorter than ``width`` columns, and fewer than ``height``."""
    shown = sorted(running, key=lambda each: -each.elapsed)[: max(1, min(_MOST, height - 3))]
    room = max(8, width - 5 - max((len(_times(each)) for each in shown), default=0))
    labels = [_shorten(each.label, room) for each in shown]
    widest = max(map(len, labels), default=0)
    lines = [f"  {label:{widest}}  {_times(each)}" for label, each in zip(labels, shown)]
    if len(running) > len(shown):
        lines.append(f"  and {len(running) - len(shown)} more")
    lines.append(f"{len(running)} running, {left} left, {cached} from the cache, {_clock(seconds)}")
    return [line[: width - 1] for line in lines]


class Live:
    """Lines at the bottom of a terminal that are drawn over themselves, from the first `draw` to `close`. Any thread may call.

    ``lines`` gives them for so many columns and rows; it is called with ``lock`` held, so what it reads is changed with it held.
    """

    def __init__(self, stream: TextIO, lines: Callable[[int, int], list[str]], colour: bool) -> None:
        self.lock = threading.RLock()
        self._stream = stream
        self._lines = lines
        self._colour = colour
        self._drawn = 0
        self._closed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._ticker.start()

    def line(self, text: str, colour: str = "", below: str = "") -> None:
        """Add a line, or several, to those that scroll above; ``below`` are whole lines that belong to them, in no colour."""
        if colour and self._colour:
            text = f"\x1b[{colour}m{text}\x1b[0m"
        self.draw(f"{text}\n{below}")

    def draw(self, above: str = "") -> None:
        """Draw all anew, in one write, so that it does not flicker."""
        with self.lock:
            lines = self._lines(*_size(self._stream))
            drawn = "\n".join(lines)
            text = self._erased() + above + (f"\x1b[{Colour.FAINT}m{drawn}\x1b[0m" if self._colour else drawn)
            self._drawn = len(lines)
            self._write(text)

    def close(self) -> None:
        """Take the lines away."""
        self._closed.set()
        self._ticker.join()
        with self.lock:
            self._write(self._erased())

    def _tick(self) -> None:
        with suppress(OSError):  # the terminal may go away before the command does
            while not self._closed.wait(_PERIOD):
                self.draw()

    def _erased(self) -> str:
        """What takes the lines away, and leaves the cursor where they began."""
        return "\r" + "\x1b[A" * (self._drawn - 1) + "\x1b[J" if self._drawn else ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Progress:
    """The status area of one build on a terminal, from the first line to `close`. Its methods may be called from any thread."""

    def __init__(self, stream: TextIO, left: int, cached: int, colour: bool) -> None:
        self._left = left
        self._cached = cached
        self._started = time.monotonic()
        self._running: dict[str, tuple[float, float | None]] = {}
        self._live = Live(stream, self._area, colour)
        self.line = self._live.line
        self.close = self._live.close

    def start(self, label: str, expected: float | None) -> None:
        """An action runs from now on; ``expected`` is how many seconds it took the last time."""
        with self._live.lock:
            self._running[label] = (time.monotonic(), expected)
            self._live.draw()

    def finish(self, label: str, cached: bool) -> None:
        """Nothing more is to be done for a target."""
        with self._live.lock:
            self._running.pop(label, None)
            self._left -= 1
            self._cached += cached

    def _area(self, columns: int, rows: int) -> list[str]:
        now = time.monotonic()
        running = [Running(label, now - began, expected) for label, (began, expected) in self._running.items()]
        return area(running, self._left - len(running), self._cached, now - self._started, columns, rows)


def _size(stream: TextIO) -> tuple[int, int]:
    """The columns and rows of a terminal; those of old where it does not say."""
    columns, rows = os.get_terminal_size(stream.fileno())
    return columns or 80, rows or 24


def _shorten(label: str, most: int) -> str:
    """A label cut at its beginning: what tells targets apart is mostly at the end."""
    return label if len(label) <= most else f"...{label[3 - most :]}"


def _times(each: Running) -> str:
    return _clock(each.elapsed) + (f" of about {_clock(each.expected)}" if each.expected is not None else "")


def _clock(seconds: float) -> str:
    """Seconds as 0:07 or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
