"""A model whose weights lie in a second file, from the target that makes both to the engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.parser import parse_model

from throwaway import Workspace

BUILD = """
from enginewright import python_action, tensorrt_engine

python_action(name="net", function="make.py:take", inputs={"onnx": "net.onnx", "data": "net.onnx.data"},
              outputs={"onnx": "net.onnx", "data": "net.onnx.data"})
tensorrt_engine(name="engine", model=":net", archs=["A100"], dims={"batch": (1, 2, 8)})
"""
TAKE = """
def take(inputs, outputs, params):
    for name, output in outputs.items():
        output.write_bytes(inputs[name].read_bytes())
"""
DATA = "build/models/x/net/net.onnx.data"
SIDECAR = "build/models/x/engine_sm_80.json"


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    empty.write({"models/x/BUILD.py": BUILD, "models/x/make.py": TAKE})
    save(empty.root / "models/x/net.onnx", 1.0)
    empty.doit("build")
    return empty


def save(path: Path, weight: float) -> None:
    made = parse_model('<ir_version: 10, opset_import: ["" : 20]> net (float[batch, 64] x) => (float[batch, 32] y) { y = MatMul(x, w) }')
    made.graph.initializer.append(numpy_helper.from_array(np.full((64, 32), weight, np.float32), "w"))
    path.with_name("net.onnx.data").unlink(missing_ok=True)
    onnx.save_model(made, str(path), save_as_external_data=True, location="net.onnx.data", size_threshold=0)


def statuses(workspace: Workspace, code: int = 0) -> dict[str, str]:
    found = json.loads(workspace.doit("build", "--json", code=code).stdout)
    return {each["label"]: each["status"] for each in found["actions"]}


def test_both_files_are_what_an_engine_is_made_from(workspace: Workspace) -> None:
    assert set(json.loads(workspace.read(SIDECAR))["sources"]) == {"onnx", "data"}
    assert json.loads(workspace.doit("inspect", "--json", "models/x:net").stdout)["parameters"] == 64 * 32
    model = (workspace.root / "models/x/net.onnx").read_bytes()
    save(workspace.root / "models/x/net.onnx", 2.0)
    assert (workspace.root / "models/x/net.onnx").read_bytes() == model
    assert statuses(workspace) == {"models/x:net": "built", "models/x:engine_sm_80": "built"}


def test_a_flipped_byte_is_healed_from_the_store(workspace: Workspace) -> None:
    sidecar, good = workspace.read(SIDECAR), (workspace.root / DATA).read_bytes()
    (workspace.root / DATA).unlink()
    (workspace.root / DATA).write_bytes(bytes([good[0] ^ 1]) + good[1:])
    assert statuses(workspace) == {"models/x:net": "cached", "models/x:engine_sm_80": "up to date"}
    assert (workspace.root / DATA).read_bytes() == good and workspace.read(SIDECAR) == sidecar


def test_a_missing_byte_in_what_is_made_stops_the_engine(workspace: Workspace) -> None:
    source = workspace.root / "models/x/net.onnx.data"
    source.write_bytes(source.read_bytes()[:-1])
    done = workspace.doit("build", code=1)
    assert "net.onnx.data is truncated, or belongs to another model: net.onnx expects 8192 bytes of w from 0 on" in done.stdout
