"""`doit publish`, to a folder and to a real S3 server: nothing half-sent is ever visible, whatever goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

import seaweed
from enginewright.bundle.sums import SUMS, decode
from small_disk import mounted
from throwaway import Workspace

BUILD = """
from enginewright import model_bundle

model_bundle(name="bundle", files={"engine": "engine", "text/tokenizer.json": "tokenizer.json", "large": "large"})
"""
LARGE = 24 << 20
"""More than one part of a multipart upload, in bytes."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with seaweed.serving(tmp_path_factory.mktemp("s3") / "server") as environment:
        yield environment


@pytest.fixture
def workspace(empty: Workspace, server: dict[str, str]) -> Workspace:
    empty.write({"models/x/BUILD.py": BUILD, "models/x/engine": "one\n", "models/x/tokenizer.json": "{}\n"})
    (empty.root / "models/x/large").write_bytes(os.urandom(1 << 20) * (LARGE >> 20))
    empty.environment.update(server)
    return empty


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return request.node.name


def publish(workspace: Workspace, to: str, *options: str) -> dict[str, Any]:
    return dict(json.loads(workspace.doit("publish", "models/x:bundle", "--to", to, "--json", *options).stdout))


def objects(server: dict[str, str], prefix: str) -> dict[str, int]:
    return {each["path"].removeprefix(f"{prefix}/"): each["size"] for each in obstore.list(seaweed.bucket(server), prefix).collect()}


def fetched(server: dict[str, str], prefix: str) -> dict[str, bytes]:
    """What a reader gets who follows the pointer; every file is as SHA256SUMS says."""
    bucket = seaweed.bucket(server)
    name = bytes(obstore.get(bucket, f"{prefix}/latest").bytes()).decode().strip()
    bundle = decode(bytes(obstore.get(bucket, f"{prefix}/{name}/{SUMS}").bytes()), name)
    assert bundle.name == name
    found = {file: bytes(obstore.get(bucket, f"{prefix}/{name}/{file}").bytes()) for file in bundle.files}
    assert {file: seaweed.sha256(data) for file, data in found.items()} == bundle.files
    return found


def test_a_bucket(workspace: Workspace, server: dict[str, str], prefix: str) -> None:
    first = publish(workspace, f"s3://models/{prefix}")
    assert (first["sent"], first["bytes_sent"], first["copied"], first["there"]) == (3, LARGE + 7, 0, 0)
    assert fetched(server, prefix)["large"] == (workspace.root / "models/x/large").read_bytes()
    again = publish(workspace, f"s3://models/{prefix}")
    assert (again["sent"], again["there"], again["digest"]) == (0, 3, first["digest"])
    workspace.write({"models/x/engine": "two\n"})
    changed = publish(workspace, f"s3://models/{prefix}", "--no-latest")
    assert (changed["sent"], changed["bytes_sent"], changed["copied"]) == (1, 4, 2)
    assert fetched(server, prefix)["engine"] == b"one\n"
    publish(workspace, f"s3://models/{prefix}")
    assert fetched(server, prefix)["engine"] == b"two\n"
    names = {path.partition("/")[0] for path in objects(server, prefix)}
    assert names == {"latest", *(each["digest"].replace(":", "-") for each in (first, changed))}


def test_a_folder(workspace: Workspace, tmp_path: Path) -> None:
    told = publish(workspace, f"file://{tmp_path}/srv")
    assert told["place"] == f"{tmp_path}/srv/{told['digest'].replace(':', '-')}"
    assert (tmp_path / "srv/latest/engine").read_text() == "one\n"
    assert subprocess.run(["sha256sum", "--quiet", "--check", SUMS], cwd=tmp_path / "srv/latest").returncode == 0
    assert publish(workspace, f"file://{tmp_path}/srv")["sent"] == 0


def test_a_wrong_key_is_refused(workspace: Workspace, server: dict[str, str], prefix: str) -> None:
    workspace.environment["AWS_SECRET_ACCESS_KEY"] = "another secret"
    done = workspace.doit("publish", "models/x:bundle", "--to", f"s3://models/{prefix}", code=3)
    assert f"s3://models/{prefix} refused the request: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in done.stderr
    assert "another secret" not in done.stdout + done.stderr
    assert objects(server, prefix) == {}


def test_nobody_listens(workspace: Workspace, prefix: str) -> None:
    workspace.environment["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{seaweed.free_ports(1)[0]}"
    done = workspace.doit("publish", "models/x:bundle", "--to", f"s3://models/{prefix}", code=3)
    assert "could not be reached, or failed: run it again, it goes on where it was" in done.stderr


def test_no_keys(workspace: Workspace) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        workspace.environment.pop(name, None)
    workspace.environment["AWS_METADATA_ENDPOINT"] = "http://127.0.0.1:1"
    done = workspace.doit("publish", "models/x:bundle", "--to", "s3://models/none", code=3)
    assert done.stderr.splitlines()[-1] == "ERROR: s3://models/none: there are no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def test_killed_half_way(workspace: Workspace, server: dict[str, str], prefix: str) -> None:
    publish(workspace, f"s3://models/{prefix}")
    before = fetched(server, prefix)
    (workspace.root / "models/x/large").write_bytes(os.urandom(1 << 20) * 160)
    workspace.doit("build")
    process = workspace.start("publish", "models/x:bundle", "--to", f"s3://models/{prefix}", "--json")
    while len(objects(server, prefix)) < 6:  # the first file of the new one is there: the large one is being sent
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    seen = objects(server, prefix)
    assert [size for path, size in seen.items() if path.endswith("/large")] == [LARGE]
    assert fetched(server, prefix) == before
    told = publish(workspace, f"s3://models/{prefix}")
    assert (told["sent"], told["copied"], told["there"]) == (1, 1, 1)
    assert fetched(server, prefix)["large"] == (workspace.root / "models/x/large").read_bytes()


def test_two_publishers_at_once(workspace: Workspace, server: dict[str, str], tmp_path: Path, prefix: str) -> None:
    other = workspace.clone(tmp_path / "other")
    other.environment.update(server)
    other.write({"models/x/engine": "two\n"})
    for each in (workspace, other):
        each.doit("build")
    for to in (f"s3://models/{prefix}", f"file://{tmp_path}/srv"):
        processes = [each.start("publish", "models/x:bundle", "--to", to) for each in (workspace, other, workspace)]
        for process in processes:
            out, err = process.communicate()
            assert process.returncode == 0, out + err
    assert fetched(server, prefix)["engine"] in (b"one\n", b"two\n")
    assert len({path.partition("/")[0] for path in objects(server, prefix)}) == 3
    assert (tmp_path / "srv/latest/engine").read_text() in ("one\n", "two\n")
    assert len([path for path in (tmp_path / "srv").iterdir() if path.name.startswith("sha256-")]) == 2


def test_mistakes(workspace: Workspace, tmp_path: Path) -> None:
    assert workspace.refuse("publish", "models/x:bundle").startswith("doit publish: say where with --to file:///FOLDER")
    assert workspace.refuse("publish", "models/x", "--to", "file:///srv").startswith("doit publish takes one label")
    assert workspace.refuse("publish", "models/x:bundel", "--to", "file:///srv") == (
        "no target 'bundel' in package 'models/x' (did you mean 'bundle'?)"
    )
    assert workspace.refuse("publish", "models/x:bundle", "--to", "srv").startswith("'srv' is no place to publish to")


def test_a_disk_that_is_full(workspace: Workspace, tmp_path: Path) -> None:
    with mounted(tmp_path / "small", f"size={LARGE // 2}") as folder:
        line = workspace.doit("publish", "models/x:bundle", "--to", f"file://{folder}", code=3).stderr.splitlines()[-1]
        assert line.startswith(f"ERROR: No space left on device: {folder}/.partial/") and line.endswith(
            "; make room there, and publish again"
        )
        assert [path.name for path in folder.iterdir()] == [".partial"] and not list((folder / ".partial").iterdir())
