"""What is shown of transfers: on a real pseudo-terminal, and where nothing can be drawn over."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import struct
import termios
from typing import TextIO

import pytest

from enginewright.doit_plugin.transfers import Transfers
from enginewright.oci.layout import Descriptor
from enginewright.oci.media import LAYER
from enginewright.oci.push import Moved

LOW = Descriptor(LAYER, "sha256:" + "a" * 64, 400_000_000)
HIGH = Descriptor(LAYER, "sha256:" + "b" * 64, 1000)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[int, TextIO]:
    """Both ends of a terminal of 60 columns."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    ours, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    return ours, os.fdopen(far, "w")


def test_on_a_terminal(terminal: tuple[int, TextIO]) -> None:
    end, stream = terminal
    shown = Transfers(stream)
    shown.watch(Moved(LOW, 0))
    shown.watch(Moved(HIGH, 0))
    shown.watch(Moved(LOW, 100_000_000))
    shown.note("trying again")
    shown.watch(Moved(HIGH, 1000, "there"))
    shown.watch(Moved(LOW, 400_000_000, "sent"))
    shown.close()
    stream.flush()
    text = ""
    while not text.endswith("\x1b[J") and select.select([end], [], [], 5)[0]:  # a terminal may give it in pieces
        text += os.read(end, 1 << 16).decode()
    assert "sha256:aaaaaaaaaaaa   25 % of 400 MB" in text
    assert "trying again\r\n" in text and "sent    sha256:aaaaaaaaaaaa  400 MB\r\n" in text
    assert "there" not in text, "a blob that is there is no news"
    assert text.endswith("\x1b[J"), "what moved is taken away"
    shown.watch(Moved(LOW, 1, ""))  # and drawn anew for the next image
    shown.close()


def test_elsewhere() -> None:
    stream = io.StringIO()
    shown = Transfers(stream)
    shown.watch(Moved(LOW, 0))
    shown.watch(Moved(LOW, 100_000_000))
    shown.watch(Moved(HIGH, 1000, "there"))
    shown.watch(Moved(LOW, 400_000_000, "mounted"))
    shown.close()
    assert stream.getvalue() == "  mounted sha256:aaaaaaaaaaaa  400 MB\n"


def test_a_line_is_written_in_one() -> None:
    """Blobs are moved by several threads, whose lines were mixed."""
    written = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    Transfers(Stream()).note("trying again")
    assert written == ["trying again\n"]
