"""A Docker Engine of one's own: everything it has lies in one folder, and nothing of the machine's Docker is touched."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CLI = "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker"


@dataclass(frozen=True)
class Engine:
    """``host`` is what DOCKER_HOST is to be; ``folder`` is where it keeps its data and its log."""

    host: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that is to talk to it, with a Docker configuration of its own."""
        return {"DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.folder / "config"), "DOCKER_CONTEXT": "", "DOCKER_TLS_VERIFY": ""}

    def docker(self, *arguments: str | Path, check: bool = True) -> str:
        """What `docker` prints on standard output."""
        done = subprocess.run([CLI, *map(str, arguments)], env={**os.environ, **self.environment}, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"docker {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def containers(self) -> list[str]:
        """The ids of all containers, running or not."""
        return self.docker("ps", "--all", "--quiet").split()


def missing() -> str:
    """Why no Engine can be started here; empty when it can."""
    programs = [name for name in ("dockerd", "docker", "ip") if shutil.which(name) is None]
    if programs:
        return f"{programs[0]} is not installed"
    return "" if os.geteuid() == 0 else "a Docker Engine of one's own needs root"


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Start one below ``folder``, with a network bridge of its own and no firewall rules; stop it at the end."""
    folder.mkdir(parents=True)
    (folder / "config").mkdir()
    (folder / "config/config.json").write_text("{}")
    number = random.SystemRandom().randrange(1 << 14)
    bridge, subnet = f"ewtest{number}", f"10.{192 + (number >> 8)}.{number & 255}.1/24"
    for arguments in (["link", "add", bridge, "type", "bridge"], ["addr", "add", subnet, "dev", bridge], ["link", "set", bridge, "up"]):
        subprocess.run(["ip", *arguments], check=True, capture_output=True)
    # A socket's path has room for some 100 characters.
    socket = Path(f"/tmp/{bridge}.sock")
    command = [
        "dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid", "--host", f"unix://{socket}",
        "--bridge", bridge, "--iptables=false", "--ip6tables=false", "--log-level=warn",
    ]  # fmt: skip
    try:
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen([str(each) for each in command], stdout=log, stderr=log, start_new_session=True)
        try:
            made = Engine(f"unix://{socket}", folder)
            deadline = time.monotonic() + 60
            while not made.docker("version", "--format", "{{.Server.Version}}", check=False).strip():
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.1)
            yield made
        finally:
            process.terminate()
            process.wait(timeout=60)
    finally:
        subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)
        socket.unlink(missing_ok=True)
        for mount in sorted((line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()), reverse=True):
            if mount.startswith(f"{folder}/"):
                subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)


def engine_or_skip(folder: Path) -> Iterator[Engine]:
    """The body of a fixture: an Engine; where there can be none the test is skipped, but not in CI."""
    if reason := missing():
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with engine(folder) as made:
        yield made
