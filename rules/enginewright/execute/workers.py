"""The processes that actions run in: forked from a warm server, or fresh.

A fork server is a process that has imported what a kind of action needs, and forks a clean child for each. There is one for
each `WarmUp` that a build comes to use; it ends with the build, and its children with it, however the build ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from enginewright.errors import ActionError
from enginewright.execute.installation import SOURCE_ROOT, WORKER, Installation
from enginewright.graph.action import WarmUp
from enginewright.store.files import naming

_COMMAND = [sys.executable, "-s", "-P", "-m", WORKER]


class Workers:
    """Starts processes for jobs, and stops them all."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._lock = threading.Lock()
        self._stopped = False
        self._servers: dict[WarmUp, _Server] = {}
        self._fresh: set[subprocess.Popen[bytes]] = set()

    def start(self, warm_up: WarmUp) -> None:
        """Have a fork server get ready, so that the first action finds it warm."""
        with self._lock:
            if not self._stopped and warm_up not in self._servers:
                self._servers[warm_up] = _Server(warm_up, self._installation.toolchain(warm_up.packages).modules)

    def run(self, job: Mapping[str, Any], folder: Path, log: TextIO, warm_up: WarmUp | None) -> dict[str, Any]:
        """Run a job (see `enginewright.execute.worker.run`) and return its reply; with ``warm_up`` None in a fresh process.

        The job travels as a file in ``folder``.

        Raises ActionError when the process ends without one.
        """
        job_file = folder / "job.json"
        with naming(job_file):
            job_file.write_text(json.dumps(job), encoding="utf-8")
        if warm_up is None:
            status, text = self._run_fresh(job_file, log)
        else:
            self.start(warm_up)
            with self._lock:
                self._refuse_if_stopped()
                server = self._servers[warm_up]
            status, text = server.run(job_file, log)
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
            for server in self._servers.values():
                server.end()
            for server in self._servers.values():
                server.wait()
            for process in self._fresh:
                _kill_group(process.pid)

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise ActionError("was interrupted")

    def _run_fresh(self, job_file: Path, log: TextIO) -> tuple[int, str]:
        # Not a pipe: what the action leaves running would hold it open.
        with open(os.memfd_create("reply"), "r+", encoding="utf-8") as reply:
            with self._lock:
                self._refuse_if_stopped()
                process = subprocess.Popen(
                    [*_COMMAND, str(reply.fileno()), str(os.getpid()), str(job_file)],
                    cwd="/",
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[reply.fileno()],
                    process_group=0,
                )
                self._fresh.add(process)
            try:
                process.wait()
            finally:
                with self._lock:
                    self._fresh.discard(process)
                _kill_group(process.pid)
                status = process.wait()
            reply.seek(0)
            return status, reply.read()


class _Server:
    """A fork server and the socket to it. A request is the path of a job file, with two descriptors: for the reply, for the log."""

    def __init__(self, warm_up: WarmUp, modules: Collection[str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*_COMMAND, "serve", str(theirs.fileno()), warm_up.run],
                cwd="/",
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as given:
            given.write(json.dumps(sorted(modules)).encode())
        self._socket = ours

    def run(self, job_file: Path, log: TextIO) -> tuple[int, str]:
        """Run a job in a fork; the exit status, negative for a signal, and the reply."""
        read, write = os.pipe()
        with open(read, encoding="utf-8") as reply:
            try:
                socket.send_fds(self._socket, [os.fsencode(job_file)], [write, log.fileno()])
            except OSError:
                return self._process.wait(), ""
            finally:
                os.close(write)
            # Not up to the end of the file: what the action leaves running may hold the other end open.
            text, status = reply.readline(), reply.readline()
        return (int(status), text.strip()) if status else (self._process.wait(), "")

    def end(self) -> None:
        """Have the server end its children and itself."""
        self._process.terminate()
        self._socket.close()

    def wait(self) -> None:
        """Wait until the server has ended, though not for long."""
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _kill_group(leader: int) -> None:
    """Kill an action's process, and all that it started and left behind: it leads a group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """The environment of every action, the same on every machine; the worker adds the sandbox's HOME and TMPDIR."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(SOURCE_ROOT),
    }  # fmt: skip
