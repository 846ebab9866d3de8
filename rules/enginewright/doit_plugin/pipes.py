"""Output that cannot be written: pipes whose reader may be gone, as after ``| head``, what was closed from the start, a full disk."""

from __future__ import annotations

import atexit
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO


def outlive_readers() -> None:
    """Let what is written to standard output and error go to nowhere once nobody reads it, or there is no room for it, instead of failing.

    A build then goes on to its end, and a command that only looks ends in peace.
    """
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)
    atexit.register(_tell_at_exit)


def tell_unwritten() -> bool:
    """Whether standard output has not got all that was written to it, for another reason than that nobody reads it; it is told once."""
    if not isinstance(sys.stdout, _Outliving):
        return False
    sys.stdout.flush()
    reason, sys.stdout.trouble = sys.stdout.trouble, ""
    if reason:
        print(f"ERROR: standard output: {reason}", file=sys.stderr, flush=True)
    return bool(reason)


def _tell_at_exit() -> None:
    """For doit's own commands, which do not ask."""
    if tell_unwritten():
        os._exit(3)


@contextmanager
def aside() -> Iterator[None]:
    """Let what is printed meanwhile, by child processes too, go to standard error: standard output is for what a command was asked for."""
    sys.stdout.flush()
    kept = None
    with suppress(OSError):  # one of them was closed from the start
        kept = os.dup(1)
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


class _Outliving(io.TextIOWrapper):
    """Text for a pipe or a file. ``trouble`` is what kept it from being written, in words.

    This is no `io.RawIOBase`: a Ctrl-C between the write of such a one and its return has all written twice.
    """

    trouble = ""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            self.trouble = error.strerror or str(error)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def _outliving(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed from the start, as with >&-
        return open(os.devnull, "w")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if stream.errors == "strict":  # a file name that is not UTF-8, or not ASCII where all else is, must not end a command
        stream.reconfigure(errors="backslashreplace")
    try:
        if os.isatty(stream.fileno()):
            return stream
    except OSError:
        return stream
    stream.flush()
    pipe = open(stream.fileno(), "wb", closefd=False)
    return _Outliving(pipe, stream.encoding, stream.errors, line_buffering=stream.line_buffering, write_through=stream.write_through)
