"""Real registries on loopback: Debian's docker-registry, with or without a login and TLS."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http:
  addr: {host}
{tls}
{auth}
"""


def need(program: str) -> str:
    """A program that has to be there in CI; elsewhere the test is skipped."""
    found = shutil.which(program)
    if found is None:
        message = f"{program} is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return found


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Registry:
    """A registry that runs: ``host`` is its address, ``log`` what it wrote. It may be stopped and started again."""

    def __init__(self, folder: Path, tls: tuple[Path, Path] | None = None, auth: str = "") -> None:
        self.folder = folder
        self.host = f"127.0.0.1:{free_port()}"
        self.log = folder / "log"
        self._tls = tls
        lines = f"  tls: {{certificate: {tls[0]}, key: {tls[1]}}}" if tls else ""
        folder.mkdir(exist_ok=True)
        auth = f"auth: {auth}" if auth else ""
        (folder / "config.yml").write_text(CONFIG.format(root=folder / "data", host=self.host, tls=lines, auth=auth))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
        with open(self.log, "ab") as log:
            command = [need("docker-registry"), "serve", str(self.folder / "config.yml")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**environment, "OTEL_TRACES_EXPORTER": "none"})
        until = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it: what it has on disk stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def requests(self) -> list[str]:
        """The requests that it answered so far, as ``GET /v2/``."""
        lines = [line for line in self.log.read_text().splitlines() if '"' in line and ' HTTP/1.1" ' in line]
        asked = [" ".join(line.split('"')[1].split(" ")[:2]) for line in lines]
        return [each for each in asked if each != "GET /ready"]

    def blob(self, digest: str) -> Path:
        """Where it keeps a blob."""
        name = digest.removeprefix("sha256:")
        return self.folder / "data/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"

    def _answers(self) -> bool:
        address = self.host.rpartition(":")
        try:
            socket.create_connection((address[0], int(address[2])), 1).close()
            if self._tls is None:
                urllib.request.urlopen(f"http://{self.host}/ready", timeout=2).close()
            return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False


@contextmanager
def running(folder: Path, tls: tuple[Path, Path] | None = None, auth: str = "") -> Iterator[Registry]:
    """A registry for a while. ``tls`` are its certificate and key, ``auth`` is what its configuration says of authentication, in YAML."""
    registry = Registry(folder, tls, auth)
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()
