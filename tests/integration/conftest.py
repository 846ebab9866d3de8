from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockerd import Engine, engine_or_skip
from enginewright.rules.image import assemble
from enginewright.rules.layer import write_layer
from layers import layer_params
from registries import Registry, running
from throwaway import Workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the session, or the one that the environment names, which may hold what was built before."""
    named = os.environ.get("ENGINEWRIGHT_STORE")
    return Path(named).absolute() if named else tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Workspace:
    """A copy of this project's files, as a workspace."""
    root = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.split("\0"):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    return Workspace(root, store, tmp_path_factory.mktemp("trace") / "trace")


@pytest.fixture(scope="session")
def built(checkout: Workspace) -> Path:
    """That workspace with the example models and images built."""
    checkout.doit("build")
    return checkout.root


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A Docker Engine for the session, with nothing in it but what tests load."""
    yield from engine_or_skip(tmp_path_factory.mktemp("docker") / "engine")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry without logins, for the tests of a file."""
    with running(tmp_path_factory.mktemp("registry") / "registry") as started:
        yield started


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An image of one layer of 8 MiB."""
    (tmp_path / "file").write_bytes(os.urandom(8 << 20))
    outputs = {"layer": tmp_path / "layer.tar", "descriptor": tmp_path / "layer.json"}
    write_layer({"file": tmp_path / "file"}, outputs, layer_params({"/file": "file"}))
    params: dict[str, Any] = {"layers": ["x:layer"], "config": {}, "annotations": {}, "architecture": "amd64", "created": 0}
    inputs = {"layer_0": outputs["layer"], "descriptor_0": outputs["descriptor"]}
    assemble(inputs, {"layout": tmp_path / "layout"}, params)
    return tmp_path / "layout"
