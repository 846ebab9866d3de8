"""A workspace to throw away, and the `doit` of this environment to run in it."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginewright.model.checksum import sha256_of

DOIT = Path(sys.executable).parent / "doit"

PYPROJECT = """
[tool.doit]
loader = "enginewright"
"""

MAKE = '''
"""What the python_action() targets of the tests run."""

import signal
import subprocess

TRACE = %r


def shell(command, *arguments):
    # A child process is beyond the sandbox's audit hook, and a named pipe beyond its read-only mounts: this is how an action of
    # a test is seen from outside.
    subprocess.run(["sh", "-c", command, "sh", *map(str, arguments)], check=True)


def trace(outputs):
    package, _, name = next(iter(outputs.values())).parent.as_posix().partition("/root/build/")[2].rpartition("/")
    shell('echo "$1" >> "$2"', package + ":" + name, TRACE)


def copy(inputs, outputs, params):
    """Every input, one after the other, without the lines that begin with a #."""
    trace(outputs)
    write(inputs, outputs, params)


def write(inputs, outputs, params):
    print("copying", *sorted(inputs))
    lines = [line for name in sorted(inputs) for line in inputs[name].read_text().splitlines(True) if line[0] != "#"]
    for path in outputs.values():
        path.write_text("".join(lines) * params.get("times", 1))


def fail(inputs, outputs, params):
    trace(outputs)
    print("about to fail")
    for path in outputs.values():
        path.write_text("half of what it should be")
    raise ValueError("there is no such thing")


def wait(inputs, outputs, params):
    """Write the number of a process, as it is outside its namespace, to the pipe params["here"]; it waits for the file params["until"]."""
    trace(outputs)
    shell('read pid _ < /proc/self/stat; echo $pid > "$1"; while [ ! -e "$2" ]; do sleep 0.05; done', params["here"], params["until"])
    write(inputs, outputs, params)
'''

MEASURED = """
from dataclasses import dataclass, replace
from typing import ClassVar

from enginewright import python_action
from enginewright.graph.rule import declaration
from enginewright.rules.python_action import PythonAction

@dataclass(frozen=True, kw_only=True)
class Measured(PythonAction):
    kind: ClassVar[str] = "measured"

    def action(self, context):
        return replace(super().action(context), previous=("cache",))

measured = declaration(Measured)
"""
"""The start of a BUILD.py with a rule of which each run offers its output "cache" to the next."""


class Pipe:
    """A named pipe, which is made where there is none, for the words of sandboxed processes to the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            os.mkfifo(path)
        # For writing too: then it need not be opened anew for each of those who write.
        self._read = os.fdopen(os.open(path, os.O_RDWR | os.O_NONBLOCK), "rb", buffering=0)

    def lines(self) -> list[str]:
        """What has been written since it was last asked for; each word of an action is one short line."""
        return (self._read.read(1 << 16) or b"").decode().splitlines()

    def some(self) -> list[str]:
        """Wait until something is written; all that has been since it was last asked for."""
        if not select.select([self._read], [], [], 60)[0]:
            raise TimeoutError
        return self.lines()

    def wait(self) -> str:
        """Wait for the next line; there must be one only."""
        (line,) = self.some()
        return line


@dataclass(frozen=True)
class Report:
    """What one `doit build --json` said: its exit code, the labels of each status, the record of each action, and its text."""

    code: int
    built: set[str]
    cached: set[str]
    up_to_date: set[str]
    skipped: set[str]
    failed: set[str]
    actions: Mapping[str, Mapping[str, Any]]
    text: str

    @classmethod
    def of(cls, done: subprocess.CompletedProcess[str]) -> Report:
        found = json.loads(done.stdout)
        actions = {each["label"]: each for each in found["actions"]}
        labels = {}
        for status in ("built", "cached", "up_to_date", "skipped", "failed"):
            labels[status] = {label for label, each in actions.items() if each["status"] == status.replace("_", " ")}
            assert found[status] == len(labels[status])
        return cls(done.returncode, **labels, actions=actions, text=done.stderr)

    @property
    def ran(self) -> set[str]:
        """The actions that ran."""
        return self.built | self.failed


class Workspace:
    """A workspace below a temporary folder. Any number of them may share a ``store``.

    The actions of its make.py leave a trace of each run outside the workspace, so that what ran is known not only from what
    `doit build` says. ``make`` is the text of such a make.py.
    """

    def __init__(self, root: Path, store: Path, trace: Path) -> None:
        self.root = root
        self.store = store
        self.trace = Pipe(trace)
        self.make = MAKE % str(trace)
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XDG_CACHE_HOME")}
        self.environment = {**inherited, "ENGINEWRIGHT_STORE": str(store)}

    def clone(self, root: Path, store: Path | None = None) -> Workspace:
        """A copy of the sources in another folder, with the same store or another."""
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns("build"))
        return Workspace(root, store or self.store, self.trace.path)

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, given with their paths."""
        for path, text in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(textwrap.dedent(text).lstrip("\n"))

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """`doit` with these arguments, running. Ctrl-C reaches it, also when these tests run in the background of a shell."""
        return subprocess.Popen(
            [DOIT, *arguments],
            cwd=self.root,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **{"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options},
        )

    def doit(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `doit` with these arguments to its end, which must be the exit code ``code``."""
        done = subprocess.run([DOIT, *arguments], cwd=self.root, env=self.environment, text=True, capture_output=True)
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def build(self, *arguments: str, code: int = 0) -> Report:
        """Run `doit build --json` with these arguments, and check its word against the trace its actions left."""
        self.trace.lines()
        report = Report.of(self.doit("build", "--json", *arguments, code=code))
        traced = self.trace.lines()
        told = [label for label in report.ran if report.actions[label]["mnemonic"] == "PythonAction"]
        assert sorted(traced) == sorted(told), f"{sorted(traced)} ran, and it told of {sorted(told)}"
        return report

    def refuse(self, *arguments: str) -> str:
        """The one line that `doit` says about a mistake, before anything runs."""
        done = self.doit(*arguments, code=3)
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("ERROR: ")
        return line.removeprefix("ERROR: ")

    def files(self) -> dict[str, str]:
        """The outputs below build/, with their SHA-256: what differs is to be shown, and there may be gigabytes of it."""
        build = self.root / "build"
        found = (path for path in build.rglob("*") if path.is_file() and ".enginewright" not in path.parts)
        return {path.relative_to(build).as_posix(): sha256_of(path) for path in found}

    def leftovers(self) -> list[Path]:
        """What an action or a build left where nothing should be left."""
        folders = (self.store / "tmp", self.root / "build/.enginewright/tmp")
        return [path for folder in folders if folder.exists() for path in folder.iterdir()] + list(self.root.rglob("*.part"))
