"""Layouts and layers, read by the tools people use: skopeo and GNU tar."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from enginewright.rules.image import assemble
from enginewright.rules.layer import write_layer
from layers import layer_params

LONG = "a folder with spaces/" + "é" * 60 + "/" + "x" * 120


def run(*command: str | Path) -> str:
    program = str(command[0])
    if shutil.which(program) is None:
        message = f"{program} is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    (tmp_path / "engine").write_bytes(os.urandom(2**20 + 3))
    (tmp_path / "script").write_bytes(b"#!/bin/sh\n")
    files = {"/models/minilm/engine_sm_80.engine": "engine", f"/{LONG}": "script"}
    outputs = {"layer": tmp_path / "layer.tar", "descriptor": tmp_path / "layer.json"}
    write_layer({"engine": tmp_path / "engine", "script": tmp_path / "script"}, outputs, layer_params(files))
    return outputs["layer"]


@pytest.fixture
def layout(tmp_path: Path, layer: Path) -> Path:
    folder = tmp_path / "image"
    params: dict[str, Any] = {
        "layers": ["models/minilm:image.layer_sm_80"],
        "config": {"Env": ["PORT=8000"], "Labels": {"team": "search"}, "Cmd": ["/script"]},
        "annotations": {},
        "architecture": "amd64",
        "created": 0,
    }
    assemble({"layer_0": layer, "descriptor_0": layer.with_suffix(".json")}, {"layout": folder}, params)
    return folder


def test_skopeo_inspects_a_layout(layout: Path, layer: Path) -> None:
    found = json.loads(run("skopeo", "inspect", f"oci:{layout}"))
    assert found["Layers"] == [json.loads(layer.with_suffix(".json").read_bytes())["digest"]]
    assert (found["Architecture"], found["Os"], found["Created"]) == ("amd64", "linux", "1970-01-01T00:00:00Z")
    assert (found["Env"], found["Labels"]) == (["PORT=8000"], {"team": "search"})
    config = json.loads(run("skopeo", "inspect", "--config", f"oci:{layout}"))
    assert config["history"][0]["created_by"] == "models/minilm:image.layer_sm_80"


def test_skopeo_copies_a_layout_to_what_docker_loads(layout: Path, layer: Path, tmp_path: Path) -> None:
    archive = tmp_path / "docker.tar"
    run("skopeo", "--insecure-policy", "copy", f"oci:{layout}", f"docker-archive:{archive}:minilm:latest")
    with tarfile.open(archive) as tar:
        described = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        (name,) = described[0]["Layers"]
        assert tar.extractfile(name).read() == layer.read_bytes()  # type: ignore[union-attr]


def test_skopeo_copies_a_layout_to_the_same_layout(layout: Path, tmp_path: Path) -> None:
    run("skopeo", "--insecure-policy", "copy", "--preserve-digests", f"oci:{layout}", f"oci:{tmp_path / 'copy'}")
    blobs = Path("blobs", "sha256")
    assert {path.name for path in (tmp_path / "copy" / blobs).iterdir()} == {path.name for path in (layout / blobs).iterdir()}


def test_gnu_tar_lists_and_extracts_a_layer(layer: Path, tmp_path: Path) -> None:
    listed = run("tar", "--list", "--verbose", "--numeric-owner", "--quoting-style=literal", "--utc", "--full-time", "--file", layer)
    lines = [line.split(maxsplit=5) for line in listed.splitlines()]
    first, second = "a folder with spaces/", LONG.rpartition("/")[0] + "/"
    assert [fields[5] for fields in lines] == [
        first, second, LONG, "models/", "models/minilm/", "models/minilm/engine_sm_80.engine",
    ]  # fmt: skip
    assert {tuple(fields[:2]) + tuple(fields[3:5]) for fields in lines} == {
        ("drwxr-xr-x", "0/0", "1970-01-01", "00:00:00"),
        ("-rw-r--r--", "0/0", "1970-01-01", "00:00:00"),
    }
    (tmp_path / "out").mkdir()
    run("tar", "--extract", "--no-same-owner", "--directory", tmp_path / "out", "--file", layer)
    assert (tmp_path / "out" / "models/minilm/engine_sm_80.engine").read_bytes() == (tmp_path / "engine").read_bytes()
    assert (tmp_path / "out" / LONG).read_bytes() == (tmp_path / "script").read_bytes()


def test_gnu_tar_reads_a_member_of_eight_gibibytes(tmp_path: Path) -> None:
    from enginewright.oci.tar import Member, header

    size = 8 * 2**30
    with (tmp_path / "large.tar").open("wb") as file:
        file.write(header(Member("engine", "file", 0o644), size, 0))
        file.truncate(file.tell() + size + 1024)
    assert run("tar", "--list", "--verbose", "--file", tmp_path / "large.tar").split()[2] == str(size)
