"""Live progress, on a real pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from enginewright.doit_plugin.progress import Running, area
from throwaway import DOIT, Pipe, Workspace

A, B, C = "models/x:a", "models/x:b", "models/x:c"

SLOW = """
from enginewright import python_action

python_action(name="slow", function="make.py:wait", inputs={"a": "models/x:a"}, outputs={"out": "out.txt"},
              params={"here": "%(here)s", "until": "%(until)s"})
"""


class Terminal:
    """`doit` on a terminal of this many columns. ``shown`` is all that it wrote so far."""

    def __init__(self, workspace: Workspace, *arguments: str, columns: int = 60, **environment: str) -> None:
        self.end, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        inherited = {name: value for name, value in workspace.environment.items() if name not in ("CI", "NO_COLOR")}
        self.process = subprocess.Popen(
            [DOIT, *arguments],
            cwd=workspace.root,
            env={**inherited, "TERM": "xterm-256color", **environment},
            stdin=far,
            stdout=far,
            stderr=far,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            start_new_session=True,
        )
        os.close(far)
        self.shown = ""

    def read_until(self, wanted: Callable[[str], bool]) -> None:
        while not wanted(self.shown):
            self.shown += os.read(self.end, 4096).decode()

    def finish(self) -> list[str]:
        """Wait for the end; return the lines that are left on the terminal."""
        while True:
            try:
                self.shown += os.read(self.end, 4096).decode()
            except OSError:  # EIO: nobody has the other end any more
                break
        os.close(self.end)
        self.process.wait()
        return screen(self.shown)


def screen(written: str) -> list[str]:
    """The lines that a terminal without an end would show, for the escape sequences that are in use."""
    lines, row, column = [""], 0, 0
    for sequence, text in re.findall(r"(\x1b\[[0-9;]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", written):
        if text:
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
        elif sequence == "\r":
            column = 0
        elif sequence == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif sequence == "\x1b[A":
            row -= 1
        elif sequence == "\x1b[J":
            del lines[row + 1 :]
            lines[row] = lines[row][:column]
        else:
            assert sequence.endswith("m"), f"unknown to this terminal: {sequence!r}"
    return lines


class Slow:
    """The target models/z:slow, which waits until `go_on`."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.here, self._until = Pipe(folder / "here"), folder / "until"
        workspace.write({"models/z/BUILD.py": SLOW % {"here": self.here.path, "until": self._until}, "models/z/make.py": workspace.make})

    def go_on(self) -> None:
        self._until.touch()

    def wait_again(self) -> None:
        self._until.unlink()


@pytest.fixture
def slow(workspace: Workspace, tmp_path: Path) -> Slow:
    return Slow(workspace, tmp_path)


def test_the_area_says_what_runs_and_what_is_left() -> None:
    running = [Running("models/x:a", 3.9), Running("models/long/y:b", 61.0, 3700.0)]
    assert area(running, 7, 2, 65.0, 80, 24) == [
        "  models/long/y:b  1:01 of about 1:01:40",
        "  models/x:a       0:03",
        "2 running, 7 left, 2 from the cache, 1:05",
    ]


@pytest.mark.parametrize(("width", "height"), [(40, 24), (80, 6), (20, 4), (1, 1)])
def test_the_area_fits_the_window(width: int, height: int) -> None:
    running = [Running(f"models/{'x' * 100}:target_{number}", number, 5.0) for number in range(50)]
    lines = area(running, 100, 0, 1.0, width, height)
    assert all(len(line) < width for line in lines)
    assert len(lines) <= max(height, 3)
    assert width < 40 or "target_49  0:49 of about 0:05" in lines[0]


def test_on_a_terminal_finished_lines_scroll_above_the_area(workspace: Workspace, slow: Slow) -> None:
    terminal = Terminal(workspace, "build", "-n2", "models/z")
    below = r"models/z:slow  0:00.*\n1 running, 0 left, 0 from the cache, \d+:\d\d"
    terminal.read_until(lambda shown: re.search(below, shown) is not None)
    assert "built    models/x:a" in screen(terminal.shown)[0]
    slow.go_on()
    lines = terminal.finish()
    assert [re.sub(r"\d+\.\d s", "T s", line) for line in lines] == [
        "[1/2]   built    models/x:a  T s",
        "[2/2]   built    models/z:slow  T s",
        "built 2, cached 0, up to date 0, skipped 0, failed 0 in T s",
        "",
    ]
    assert "\x1b[32m" in terminal.shown


def test_the_time_of_the_last_run_is_what_is_expected(workspace: Workspace, slow: Slow) -> None:
    slow.go_on()
    workspace.build("models/z")
    slow.wait_again()
    workspace.write({"models/x/src.txt": "other\n"})
    terminal = Terminal(workspace, "build", "models/z")
    terminal.read_until(lambda shown: re.search(r"models/z:slow  0:\d\d of about 0:\d\d", shown) is not None)
    slow.go_on()
    assert terminal.process.wait() == 0


def test_what_came_from_the_cache_is_counted(workspace: Workspace, slow: Slow) -> None:
    workspace.build(A)
    (workspace.root / "build/models/x/a/out.txt").unlink()
    terminal = Terminal(workspace, "build", "models/z", NO_COLOR="1")
    terminal.read_until(lambda shown: "1 running, 0 left, 1 from the cache" in shown)
    slow.go_on()
    assert terminal.finish()[0] == "        cached   models/x:a"
    assert not re.search(r"\x1b\[[0-9;]*m", terminal.shown)


def test_ctrl_c_takes_the_area_away(workspace: Workspace, slow: Slow) -> None:
    terminal = Terminal(workspace, "build", "models/z", columns=30)
    terminal.read_until(lambda shown: "z:slow" in shown)
    slow.here.wait()
    terminal.process.send_signal(signal.SIGINT)
    lines = terminal.finish()
    assert terminal.process.returncode == 130
    assert "interrupted" in lines
    assert not any("running" in line for line in lines)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"CI": "true"}])
def test_plain_lines_where_nobody_looks(workspace: Workspace, environment: dict[str, str]) -> None:
    terminal = Terminal(workspace, "build", A, **environment)
    lines = terminal.finish()
    assert lines[0] == "        running  models/x:a  PythonAction"
    assert "\x1b" not in terminal.shown
