"""Output that nobody reads: pipes whose reader may be gone, as after ``| head``, and what was closed from the start."""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import Any, TextIO


def outlive_readers() -> None:
    """Let what is written to standard output and error go to nowhere once nobody reads it, instead of failing.

    A build then goes on to its end, and a command that only looks ends in peace.
    """
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


class _Pipe(io.FileIO):
    """A pipe into which all can be written, whether somebody reads it or not."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


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
    pipe = io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(pipe, stream.encoding, stream.errors, line_buffering=stream.line_buffering, write_through=stream.write_through)
