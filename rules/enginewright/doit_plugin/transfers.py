"""Blobs on their way to or from a registry, or to Docker, as people see them: live on a terminal, a line for each elsewhere."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.options import option
from enginewright.doit_plugin.progress import Live, is_live
from enginewright.doit_plugin.units import show_size
from enginewright.oci.push import Moved

OPT_PLAIN_HTTP = option(
    "plain-http",
    False,
    "speak HTTP without TLS to registries on other machines too, where anyone on the way can read and change what is said",
)
OPT_CA = option("ca", "", "a file of certificates (PEM) to trust besides the system's and those in /etc/docker/certs.d")
OPT_JOBS = option("jobs", 4, "blobs at a time [default: %(default)s]", "j")
TRANSFER_OPTIONS = (OPT_PLAIN_HTTP, OPT_CA, OPT_JOBS)

_MOST = 8
"""How many blobs are shown at a time, at most."""

_WORTH_A_LINE = ("sent", "mounted", "fetched")


class Transfers:
    """What is shown of transfers on ``stream``. What moves is drawn from the first `watch` to `close`, and again after that."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = is_live(stream, os.environ)
        self._lock = threading.Lock()
        self._moving: dict[str, tuple[Moved, float, int]] = {}
        self._live: Live | None = None

    def watch(self, moved: Moved) -> None:
        """Take note of how far a blob got. Any thread may call."""
        if self._drawn:
            digest = moved.blob.digest
            with self._lock:
                if self._live is None:
                    self._live = Live(self._stream, self._lines, colour="NO_COLOR" not in os.environ)
            with self._live.lock:
                _, began, first = self._moving.get(digest, (moved, time.monotonic(), moved.done))
                self._moving[digest] = (moved, began, first)
                if moved.outcome:
                    del self._moving[digest]
        if moved.outcome in _WORTH_A_LINE:
            self.note(f"  {moved.outcome:8}{_short(moved.blob.digest)}  {show_size(moved.blob.size)}")

    def note(self, text: str) -> None:
        """Show a line, as of an attempt that is made again. Any thread may call."""
        live = self._live
        if live is not None:
            live.line(text)
        else:
            # In one: what print() writes of several threads gets mixed.
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def close(self) -> None:
        """Take away what moves."""
        if self._live is not None:
            self._live.close()
            self._live = None
            self._moving.clear()

    def _lines(self, columns: int, rows: int) -> list[str]:
        now = time.monotonic()
        lines = []
        for moved, began, first in list(self._moving.values())[: max(1, min(_MOST, rows - 2))]:
            done, size = moved.done, moved.blob.size
            rate = f", {show_size(int((done - first) / (now - began)))}/s" if done > first and now - began > 0.5 else ""
            lines.append(
                f"  {_short(moved.blob.digest)}  {done * 100 // size if size else 100:3} % of {show_size(size)}{rate}"[: columns - 1]
            )
        return lines or [""]


def check_transfer_options(params: Any, command: str) -> Path | None:
    """The file that ``--ca`` names. Raises doit's InvalidCommand for one that is not there, and for fewer than one job."""
    if params["jobs"] < 1:
        raise InvalidCommand(f"doit {command} -j {params['jobs']}: at least one blob must be under way")
    return read_ca(params)


def read_ca(params: Any) -> Path | None:
    """The file that ``--ca`` names. Raises doit's InvalidCommand for one that is not there."""
    ca = Path(params["ca"]) if params["ca"] else None
    if ca and not ca.is_file():
        raise InvalidCommand(f"--ca {ca}: there is no such file")
    return ca


def _short(digest: str) -> str:
    return digest[:19]
