"""A REAPI engine on the loopback: BuildGrid over PostgreSQL, with workers of different platforms.

BuildGrid has an environment of its own, made once and kept in the user's cache folder, because what it requires is not for
Enginewright to have. PostgreSQL is the system's; its cluster lies in a temporary folder and is thrown away with it. It refuses to
run as root, so root runs it as the user ``postgres``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
DEPLOY = HERE.parents[1] / "deploy"
"""The engine's configuration, which is that of the examples but for where things lie, and one thing that an engine may well do."""

BUILDGRID = "0.4.4"
KEEPALIVE_SECONDS = 4
"""After so long the engine takes a worker that says nothing for dead, and gives its action to another: soon, as in tests one dies."""

_DRIVER = """
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? MAJOR : MINOR; return 0; }
"""
"""As much of CUDA's driver as tells which GPU there is: a worker in these tests says that it has one, and has none."""


def missing() -> str:
    """What this machine lacks to run the engine; empty when it lacks nothing."""
    if sys.version_info[:2] != (3, 11):
        return f"BuildGrid {BUILDGRID} is for Python 3.11"
    if not shutil.which("cc"):
        return "no C compiler: apt-get install gcc libc6-dev"
    return "" if _postgres("initdb") else "no PostgreSQL: apt-get install postgresql"


def _postgres(program: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(found[-1]) if found else shutil.which(program)


def environment() -> Path:
    """The folder of BuildGrid's environment, which is made where there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "enginewright-tests"
    made = cache / f"buildgrid-{BUILDGRID}"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "ready").exists():
            shutil.rmtree(made, ignore_errors=True)
            # With the pip of the Python below: some distributions leave out ensurepip.
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
            pip = [sys.executable, "-m", "pip"] if _has_pip(sys.executable) else [_base_python(), "-m", "pip"]
            install = ["--disable-pip-version-check", "--python", str(made / "bin/python"), "install", "--quiet"]
            constraints = ["--constraint", str(HERE / "constraints.txt")]
            subprocess.run([*pip, *install, *constraints, f"buildgrid[database]=={BUILDGRID}"], check=True)
            (made / "ready").touch()
    return made


def _has_pip(python: str) -> bool:
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0


def _base_python() -> str:
    return str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))


@dataclass(frozen=True)
class Span:
    """What a worker ran, from when to when, in seconds since 1970. ``end`` is 0 when it did not come to that."""

    action: str
    begin: float
    end: float


class Worker:
    """A worker's process, of some platform properties."""

    def __init__(self, engine: Engine, name: str, properties: Mapping[str, str]) -> None:
        self.name = name
        self.folder = engine.folder / "workers" / name
        self.folder.mkdir(parents=True)
        (self.folder / "ran").touch()
        arguments = [f"{key}={value}" for key, value in properties.items()]
        self._command = [
            str(engine.venv / "bin/python"), str(HERE / "worker.py"), engine.address, name, str(self.folder),
            f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", *arguments,
        ]  # fmt: skip
        self._environment = dict(os.environ)
        if "gpu-arch" in properties:
            self._environment["LD_LIBRARY_PATH"] = str(self._driver(properties["gpu-arch"]))
        self.start()

    def start(self) -> None:
        """Start it, again if it was killed."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True)

    def _driver(self, arch: str) -> Path:
        source, folder = self.folder / "driver.c", self.folder / "driver"
        source.write_text(_DRIVER)
        folder.mkdir()
        major, minor = arch[3:-1], arch[-1]
        library = folder / "libcuda.so.1"
        subprocess.run(["cc", "-shared", "-fPIC", f"-DMAJOR={major}", f"-DMINOR={minor}", "-o", library, source], check=True)
        return folder

    def kill(self) -> None:
        """SIGKILL, as a machine that goes away: with all that it runs."""
        running = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        self.process.kill()
        self.process.wait()
        for each in running:
            with suppress(ProcessLookupError):
                os.killpg(int(each), signal.SIGKILL)

    def ran(self) -> list[Span]:
        """What it ran, in order."""
        begun: dict[str, list[float]] = {}
        spans = []
        for line in (self.folder / "ran").read_text().splitlines():
            what, action, when, *_ = line.split()
            if what == "begin":
                begun.setdefault(action, []).append(float(when))
            else:  # of two runs of one action, as after the engine took the worker for dead, the first ends first
                spans.append(Span(action, begun[action].pop(0), float(when)))
        return [*spans, *(Span(action, begin, 0) for action, begins in begun.items() for begin in begins)]


class Engine:
    """The engine's processes. Its address is ``127.0.0.1:PORT``, its folder holds all that it writes.

    ``keepalive`` is after how many seconds it takes a worker that says nothing for dead.
    """

    def __init__(self, folder: Path, keepalive: int) -> None:
        self.folder = folder
        self._keepalive = keepalive
        self.venv = environment()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.workers: dict[str, Worker] = {}
        self._start_database()
        url = f"postgresql+psycopg2://bgd@/bgd?host={folder}/socket"
        self._configure(url)
        subprocess.run([self.venv / "bin/bgd", "migrate", "apply", url], check=True, capture_output=True)
        psql = [_postgres("psql"), "--host", folder / "socket", "--username", "bgd", "--file", DEPLOY / "once.sql", "bgd"]
        subprocess.run(psql, check=True, capture_output=True)
        self.start()

    def start(self) -> None:
        """Start the server, again if it was stopped, and wait until it answers."""
        with open(self.folder / "bgd.log", "ab") as log:
            command = [self.venv / "bin/bgd", "server", "start", self.folder / "bgd.yml"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_for_port(self.port, self.process)

    def stop(self) -> None:
        """Stop the server at once; what it knows is in its database."""
        self.process.kill()
        self.process.wait()

    def worker(self, name: str, **properties: str) -> Worker:
        """A new worker with these platform properties; ``_`` stands for ``-`` in their names."""
        self.workers[name] = Worker(self, name, {key.replace("_", "-"): value for key, value in properties.items()})
        return self.workers[name]

    def close(self) -> None:
        for worker in self.workers.values():
            worker.kill()
        self.stop()
        self._database.send_signal(signal.SIGQUIT)
        self._database.wait()

    def _configure(self, url: str) -> None:
        text = (DEPLOY / "buildgrid.yml").read_text()
        for given, ours in {
            "0.0.0.0:50051": self.address,
            "postgresql+psycopg2://bgd@database/bgd": url,
            "/var/lib/buildgrid/cas": f"{self.folder}/cas",
            "keepalive-timeout: 60": f"keepalive-timeout: {self._keepalive}",
            "cache-failed-actions: false": "cache-failed-actions: true",
        }.items():
            assert given in text, f"deploy/buildgrid.yml has no {given}"
            text = text.replace(given, ours)
        (self.folder / "bgd.yml").write_text(text)

    def _start_database(self) -> None:
        user = "postgres" if os.geteuid() == 0 else None
        data, sockets = self.folder / "data", self.folder / "socket"
        os.chmod(self.folder, 0o755)
        for place in (data, sockets):
            place.mkdir()
            if user:
                shutil.chown(place, user, user)
        as_user: dict[str, str] = {"user": user, "group": user} if user else {}
        setup = [_postgres("initdb"), "--pgdata", data, "--username", "bgd", "--auth", "trust", "--no-sync", "--encoding", "UTF8"]
        subprocess.run(setup, check=True, capture_output=True, cwd="/", **as_user)
        options = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "listen_addresses": "", "max_connections": "200"}
        switches = [each for name, value in options.items() for each in ("-c", f"{name}={value}")]
        with open(self.folder / "postgres.log", "ab") as log:
            command = [_postgres("postgres"), "-D", data, "-k", sockets, *switches]
            self._database = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **as_user)
        create = [_postgres("createdb"), "--host", sockets, "--username", "bgd", "bgd"]
        for _ in range(300):
            if subprocess.run(create, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise TimeoutError(f"PostgreSQL did not start: {(self.folder / 'postgres.log').read_text()}")


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Wait until something listens at a port of the loopback. Raises TimeoutError, also when ``process`` has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing listens at port {port}: {process.args!r}")


@contextmanager
def running(workers: Sequence[Mapping[str, str]] = (), keepalive: int = KEEPALIVE_SECONDS) -> Iterator[Engine]:
    """An engine for as long as the context, with a worker of each of these platform properties."""
    folder = Path(tempfile.mkdtemp(prefix="enginewright-engine-"))  # not below a folder that the database's user may not enter
    try:
        engine = Engine(folder, keepalive)
        try:
            for number, properties in enumerate(workers):
                engine.worker(f"worker-{number}", **properties)
            yield engine
        finally:
            engine.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
