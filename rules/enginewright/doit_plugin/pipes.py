"""Output that nobody reads: pipes whose reader may be gone, as after ``| head``, and what was closed from the start."""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import TextIO


def outlive_readers() -> None:
    """Let what is written to standard output and error go to nowhere once nobody reads it, instead of failing.

    A build then goes on to its end, and a command that only looks ends in peace.
    """
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


class _Outliving(io.TextIOWrapper):
    """Text for a pipe. This is no `io.RawIOBase`: a Ctrl-C between the write of such a one and its return has all written twice."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._give_up()

    def _give_up(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def _outliving(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed from the start, as with >&-
        return open(os.devnull, "w")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        kind = os.fstat(stream.fileno()).st_mode
    except OSError:
        return stream
    if not stat.S_ISFIFO(kind) and not stat.S_ISSOCK(kind):
        return stream
    stream.flush()
    pipe = open(stream.fileno(), "wb", closefd=False)
    return _Outliving(pipe, stream.encoding, stream.errors, line_buffering=stream.line_buffering, write_through=stream.write_through)
