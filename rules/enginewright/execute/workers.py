"""The processes that actions run in, all forked from servers.

A fork server is a process that has imported what a kind of action needs, and forks a clean child for each. There is one for
each `Kind` that a build comes to use, and one that has imported nothing for each action that wants a fresh process. It ends with
the build, and its children with it, however the build ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any, NamedTuple

from enginewright.errors import ActionError
from enginewright.execute.installation import SOURCE_ROOT, WORKER
from enginewright.execute.platform import PROGRAMS

# Without the current folder on the module path, where Python can do so; it is the root folder.
_COMMAND = [sys.executable, "-s", *(["-P"] if sys.version_info >= (3, 11) else []), "-m", WORKER]


class Kind(NamedTuple):
    """What a server is to be. The names are those that it is told (`enginewright.execute.worker`), but for ``fresh``: it is used once."""

    warm_up: str
    modules: frozenset[str]
    namespace: bool
    network: bool
    gpu: bool = False
    fresh: bool = False


class Workers:
    """Starts processes for jobs, and stops them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._spare: _Python | None = None
        self._warm: dict[Kind, _Server] = {}
        self._fresh: set[_Server] = set()

    def reserve(self) -> None:
        """Have a Python start up for the first server, while it is yet to be found out what that is to be."""
        self._spare = _Python()

    def start(self, kind: Kind) -> None:
        """Have a fork server get ready, so that the first action finds it warm."""
        with self._lock:
            if not self._stopped:
                self._server(kind)

    def run(self, job: Mapping[str, Any], log: IO[Any], kind: Kind) -> dict[str, Any]:
        """Run a job (see `enginewright.execute.worker.run`) and return its reply.

        Raises ActionError when the process ends without one.
        """
        with self._lock:
            self._refuse_if_stopped()
            server = self._server(kind)
        try:
            status, text = server.run(job, log)
        finally:
            if kind.fresh:
                with self._lock:
                    self._fresh.discard(server)
                server.python.end()
                server.python.wait()
        if status == 0 and text:
            reply: dict[str, Any] = json.loads(text)
            return reply
        self._refuse_if_stopped()
        if status < 0:
            hint = "; was the machine out of memory?" if status == -signal.SIGKILL else ""
            raise ActionError(f"its process was killed by {signal.Signals(-status).name}{hint}")
        raise ActionError(f"its process ended with status {status} and no result")

    def stop(self) -> None:
        """Kill what runs, and start nothing more."""
        with self._lock:
            self._stopped = True
            pythons = [server.python for server in (*self._warm.values(), *self._fresh)]
            if self._spare is not None:
                pythons.append(self._spare)
            for python in pythons:
                python.end()
            for python in pythons:
                python.wait()

    def _server(self, kind: Kind) -> _Server:
        server = self._warm.get(kind)
        if server is None:
            python, self._spare = self._spare or _Python(), None
            server = _Server(python, kind)
            if kind.fresh:
                self._fresh.add(server)
            else:
                self._warm[kind] = server
        return server

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise ActionError("was interrupted")


class _Python:
    """A process that is to be a fork server, and the socket to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [*_COMMAND, str(theirs.fileno())],
                cwd="/",
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.socket = ours

    def end(self) -> None:
        """Have it end its children and itself."""
        self.process.terminate()
        self.socket.close()

    def wait(self) -> None:
        """Wait until it has ended, though not for much longer than it gives its actions."""
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _Server:
    """A fork server. What it is told, and asked, is in `enginewright.execute.worker`."""

    def __init__(self, python: _Python, kind: Kind) -> None:
        self.python = python
        told = {**kind._asdict(), "modules": sorted(kind.modules)}
        assert python.process.stdin is not None
        with suppress(BrokenPipeError), python.process.stdin as given:
            given.write(json.dumps(told).encode())

    def run(self, job: Mapping[str, Any], log: IO[Any]) -> tuple[int, str]:
        """Run a job in a fork; the exit status, negative for a signal, and the reply."""
        read, write = os.pipe()
        with open(read, encoding="utf-8") as reply:
            try:
                with open(os.memfd_create("job"), "w+b") as file:
                    file.write(json.dumps(job).encode())
                    file.seek(0)
                    socket.send_fds(self.python.socket, [b"\0"], [file.fileno(), write, log.fileno()])
            except OSError:
                return self.python.process.wait(), ""
            finally:
                os.close(write)
            # Not up to the end of the file: what the action leaves running may hold the other end open.
            text, status = reply.readline(), reply.readline()
        return (int(status), text.strip()) if status else (self.python.process.wait(), "")


def _environment() -> dict[str, str]:
    """The environment of every action, the same on every machine; the worker adds the sandbox's HOME and TMPDIR."""
    return {
        "PATH": PROGRAMS, "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(SOURCE_ROOT),
    }  # fmt: skip
