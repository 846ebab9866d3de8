"""`doit inspect`: of engines, ONNX models and images, by label and by file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.parser import parse_model

from enginewright.execute.platform import gpus
from throwaway import PYPROJECT, Workspace

BUILD = """
from enginewright import accuracy_test, files_layer, image, latency_test, python_action, tensorrt_engine

python_action(name="net", function="make.py:take", inputs={"src": "net.onnx"}, outputs={"onnx": "net.onnx"})
tensorrt_engine(name="engine", model=":net", archs=["A100", "sm_90"], dims={"batch": (1, 2, 8)}, workspace_mib=64)
latency_test(name="latency", engine=":engine", arch="hopper", batch=2, p50_ms=1)
accuracy_test(name="accuracy", engine=":engine_sm_90", reference="net.onnx")
python_action(name="text", function="make.py:take", inputs={"src": "net.onnx"}, outputs={"out": "out.txt"})
files_layer(name="layer", files={"/engines/": ":engine_sm_80"})
image(name="image", layers=[":layer"])
"""
TAKE = """
def take(inputs, outputs, params):
    for output in outputs.values():
        output.write_bytes(inputs["src"].read_bytes())
"""
ENGINE = "build/models/x/engine_sm_80.engine"
SIDECAR = "build/models/x/engine_sm_80.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace where all is built that can be."""
    folder = tmp_path_factory.mktemp("inspect")
    workspace = Workspace(folder / "workspace", folder / "store", folder / "trace")
    workspace.write({"dodo.py": "", "pyproject.toml": PYPROJECT, "models/x/BUILD.py": BUILD, "models/x/make.py": TAKE})
    model = parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> net (float16[batch, 4] x) => (float16[batch, 2] y) { z = MatMul(x, w) y = Relu(z) }'
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4, 2), np.float16), "w"))
    onnx.save_model(model, str(workspace.root / "models/x/net.onnx"))
    done = workspace.doit("build")
    if "sm_90" not in gpus():
        needs = "needs a GPU of architecture sm_90"
        assert f"skipped  models/x:engine_sm_90: {needs}" in done.stdout
        # A test of it comes after it, and all that it is built from.
        for test in ("latency", "accuracy"):
            assert f"skipped  models/x:{test}: depends on models/x:engine_sm_90, which {needs}" in done.stdout
            assert workspace.refuse("build", f"models/x:{test}").startswith(
                f"models/x:{test} depends on models/x:engine_sm_90, which {needs}"
            )
    return workspace


@pytest.fixture
def workspace(made: Workspace) -> Iterator[Workspace]:
    """The same, whatever a test does to the engine."""
    kept = made.root / "kept"
    kept.mkdir()
    for path in (ENGINE, SIDECAR):
        shutil.copy(made.root / path, kept)
    yield made
    for path in (ENGINE, SIDECAR):
        (made.root / path).unlink(missing_ok=True)
        shutil.move(kept / Path(path).name, made.root / path)
    kept.rmdir()


def as_json(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(workspace.doit("inspect", "--json", *arguments).stdout)
    return found


def test_an_engine(workspace: Workspace) -> None:
    facts = as_json(workspace, "models/x:engine_sm_80")
    assert facts["kind"] == "engine" and facts["file"] == ENGINE and facts["damage"] == ""
    assert facts["sidecar"] == json.loads(workspace.read(SIDECAR))
    text = workspace.doit("inspect", "models/x:engine_sm_80").stdout
    assert text.startswith("models/x:engine_sm_80: engine for sm_80, float16, built by TensorRT-RTX ")
    assert f"  file       {ENGINE}, " in text and ", of which weights " in text
    assert "  input      x: float16 [batch, 4]\n  output     y: float16 [batch, 2]\n" in text
    assert "  profile 0  x [1, 4] [2, 4] [8, 4] (min, opt, max)\n  settings   workspace_mib 64\n" in text
    assert f"  made from  onnx, sha256 {facts['sidecar']['sources']['onnx']['sha256']}\n" in text
    assert "  whole      yes, it is what its sidecar describes\n" in text


@pytest.mark.skipif(bool(gpus()), reason="there is a GPU")
def test_an_engine_that_cannot_run_here(workspace: Workspace) -> None:
    facts = as_json(workspace, "models/x:engine_sm_80")
    assert facts["unfit"] == "it needs a GPU of architecture sm_80, and there is none on this machine" and facts["layers"] is None
    assert f"  runs here  no: {facts['unfit']}\n" in workspace.doit("inspect", "models/x:engine_sm_80").stdout


def test_an_engine_file_anywhere(workspace: Workspace, tmp_path: Path) -> None:
    for path in (ENGINE, SIDECAR):
        shutil.copy(workspace.root / path, tmp_path)
    facts = as_json(workspace, str(tmp_path / "engine_sm_80.engine"))
    assert facts["sidecar"]["arch"] == "sm_80" and facts["damage"] == ""


def test_an_engine_that_is_damaged(workspace: Workspace) -> None:
    content = (workspace.root / ENGINE).read_bytes()
    (workspace.root / ENGINE).unlink()
    (workspace.root / ENGINE).write_bytes(content[:-10])
    said = f"engine_sm_80.engine is cut off: it has {len(content) - 10} of {len(content)} bytes"
    assert as_json(workspace, "models/x:engine_sm_80")["damage"] == said
    assert f"  whole      no: {said}\n" in workspace.doit("inspect", "models/x:engine_sm_80").stdout


def test_an_onnx_model(workspace: Workspace) -> None:
    facts = as_json(workspace, "models/x:net")
    assert facts == {
        "kind": "onnx",
        "file": "build/models/x/net/net.onnx",
        "size": (workspace.root / "models/x/net.onnx").stat().st_size,
        "opset": {"ai.onnx": 20},
        "io": [
            {"name": "x", "mode": "input", "dtype": "float16", "shape": ["batch", 4]},
            {"name": "y", "mode": "output", "dtype": "float16", "shape": ["batch", 2]},
        ],
        "precision": "float16",
        "operators": {"MatMul": 1, "Relu": 1},
        "parameters": 8,
        "weight_bytes": {"float16": 16},
    }
    text = workspace.doit("inspect", "models/x/net.onnx").stdout
    assert text.startswith("models/x/net.onnx: ONNX model, float16, operators of ai.onnx 20\n")
    assert "  parameters 8 (float16 16 bytes)\n  operators  MatMul 1, Relu 1\n" in text


def test_an_image(workspace: Workspace) -> None:
    facts = as_json(workspace, "models/x:image")
    (layer,) = facts["layers"]
    assert facts["platform"] == "linux/amd64" and facts["manifest"].startswith("sha256:")
    assert layer["created_by"] == "models/x:layer" and layer["digest"].startswith("sha256:")
    text = workspace.doit("inspect", "models/x:image").stdout
    assert text.startswith("models/x:image: image for linux/amd64, 1 layer, ") and f"  layer      {layer['digest']}, " in text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "doit inspect takes one label or file, as in: doit inspect models/minilm:engine_sm_80"),
        (["models/x:engine"], "models/x:engine is a group: inspect one of its members (models/x:engine_sm_80, models/x:engine_sm_90)"),
        (
            ["models/x:text"],
            "models/x:text is a python_action: doit inspect knows engines, ONNX models, images and layers; its outputs are ",
        ),
        (["models/x:engine_sm_80x"], "no target 'engine_sm_80x' in package 'models/x' (did you mean 'engine_sm_80'?)"),
        (["nothing.engine"], "nothing.engine: there is no such file; a label has a colon, as models/minilm:engine_sm_80"),
        (["dodo.py"], "dodo.py: it is no .engine and no .onnx file"),
    ],
)
def test_what_cannot_be_inspected(workspace: Workspace, arguments: list[str], problem: str) -> None:
    assert workspace.refuse("inspect", *arguments).startswith(problem)


def test_what_is_not_built(workspace: Workspace) -> None:
    (workspace.root / ENGINE).unlink()
    assert workspace.refuse("inspect", "models/x:engine_sm_80") == f"{ENGINE} does not exist: doit build models/x:engine_sm_80"


def test_an_engine_without_its_sidecar(workspace: Workspace) -> None:
    (workspace.root / SIDECAR).unlink()
    assert workspace.refuse("inspect", ENGINE) == f"{ENGINE}: engine_sm_80.json, its sidecar, is not beside it"


def test_an_image_that_lacks_a_layer(workspace: Workspace, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    shutil.copytree(workspace.root / "build/models/x/image", layout)
    facts = json.loads(workspace.doit("inspect", str(layout), "--json").stdout)
    lost = facts["layers"][0]["digest"]
    (layout / "blobs/sha256" / lost.removeprefix("sha256:")).unlink()
    assert f"  whole      no: {layout} lacks the blob {lost}, and does not say" in workspace.doit("inspect", str(layout)).stdout
    facts = json.loads(workspace.doit("inspect", str(layout), "--json").stdout)
    assert facts["layers"][0]["from"] == "" and facts["layers"][0]["damage"]


@pytest.mark.parametrize("content", [b"text\n", b"\x08\x0a"])
def test_what_reads_as_a_model_and_has_nothing_of_one(workspace: Workspace, content: bytes) -> None:
    (workspace.root / "text.onnx").write_bytes(content)
    assert workspace.refuse("inspect", "text.onnx").startswith("text.onnx is not an ONNX model")


def test_what_is_no_onnx_model(workspace: Workspace) -> None:
    workspace.write({"text.onnx": "This is no model.\n"})
    assert workspace.refuse("inspect", "text.onnx").startswith("text.onnx is not an ONNX model, or a truncated one")
