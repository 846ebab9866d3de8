"""The processes that actions run in, all forked from servers.

A fork server is a process that has imported what a kind of action needs, and forks a clean child for each. There is one for
each `WarmUp` that a build comes to use, and one that has imported nothing for each action that wants a fresh process. It ends
with the build, and its children with it, however the build ends.
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
from typing import IO, Any

from enginewright.errors import ActionError
from enginewright.execute.installation import SOURCE_ROOT, WORKER, Installation
from enginewright.graph.action import WarmUp

# Without the current folder on the module path, where Python can do so; it is the root folder.
_COMMAND = [sys.executable, "-s", *(["-P"] if sys.version_info >= (3, 11) else []), "-m", WORKER]


class Workers:
    """Starts processes for jobs, and stops them all. With ``namespaced`` they are kept in namespaces (`execute.namespace`)."""

    def __init__(self, installation: Installation, namespaced: bool) -> None:
        self._installation = installation
        self._namespaced = namespaced
        self._lock = threading.Lock()
        self._stopped = False
        self._warm: dict[tuple[WarmUp, bool], _Server] = {}
        self._fresh: set[_Server] = set()

    def start(self, warm_up: WarmUp, network: bool = False) -> None:
        """Have a fork server get ready, so that the first action finds it warm."""
        with self._lock:
            if not self._stopped:
                self._server(warm_up, network)

    def run(self, job: Mapping[str, Any], log: IO[Any], warm_up: WarmUp | None, network: bool) -> dict[str, Any]:
        """Run a job (see `enginewright.execute.worker.run`) and return its reply; with ``warm_up`` None in a fresh process.

        Raises ActionError when the process ends without one.
        """
        with self._lock:
            self._refuse_if_stopped()
            server = self._server(warm_up, network)
        try:
            status, text = server.run(job, log)
        finally:
            if warm_up is None:
                with self._lock:
                    self._fresh.discard(server)
                server.end()
                server.wait()
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
            servers = [*self._warm.values(), *self._fresh]
            for server in servers:
                server.end()
            for server in servers:
                server.wait()

    def _server(self, warm_up: WarmUp | None, network: bool) -> _Server:
        """The server for actions of this kind; one that is to be used once, if they want a fresh process."""
        if warm_up is None:
            server = _Server("", (), self._namespaced, network)
            self._fresh.add(server)
            return server
        if (warm_up, network) not in self._warm:
            modules = self._installation.toolchain(warm_up.packages).modules
            self._warm[warm_up, network] = _Server(warm_up.run, modules, self._namespaced, network)
        return self._warm[warm_up, network]

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise ActionError("was interrupted")


class _Server:
    """A fork server and the socket to it; what it is told, and asked, is in `enginewright.execute.worker`."""

    def __init__(self, warm_up: str, modules: Collection[str], namespaced: bool, network: bool) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*_COMMAND, str(theirs.fileno())],
                cwd="/",
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        told = {"modules": sorted(modules), "warm_up": warm_up, "namespace": namespaced, "network": network}
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as given:
            given.write(json.dumps(told).encode())
        self._socket = ours

    def run(self, job: Mapping[str, Any], log: IO[Any]) -> tuple[int, str]:
        """Run a job in a fork; the exit status, negative for a signal, and the reply."""
        read, write = os.pipe()
        with open(read, encoding="utf-8") as reply:
            try:
                with open(os.memfd_create("job"), "w+b") as file:
                    file.write(json.dumps(job).encode())
                    file.seek(0)
                    socket.send_fds(self._socket, [b"\0"], [file.fileno(), write, log.fileno()])
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


def _environment() -> dict[str, str]:
    """The environment of every action, the same on every machine; the worker adds the sandbox's HOME and TMPDIR."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(SOURCE_ROOT),
    }  # fmt: skip
