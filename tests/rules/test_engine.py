from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.parser import parse_model

from enginewright.errors import DeclarationError
from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem
from enginewright.graph.label import Label
from enginewright.graph.rule import Group, Rule
from enginewright.model.shapes import tensor
from enginewright.rules.engine import Engine, tensorrt_engine
from enginewright.rules.fp16 import fp16
from enginewright.rules.onnx import onnx_model

Declare = Callable[..., Any]

ENGINE: Mapping[str, Any] = {"name": "engine", "model": ":half", "archs": ["sm_80", "sm_89"]}
DIMS = {"batch": [1, 2, 8]}
RUN = """
import json, sys
from pathlib import Path
from enginewright.rules.engine import build
from enginewright.errors import ActionError
try:
    build({"model": Path("net.onnx")}, {"engine": Path("net.engine"), "sidecar": Path("net.json")}, json.loads(sys.argv[1]))
except ActionError as error:
    print(f"ActionError: {error}")
"""


@pytest.fixture
def chain(declare: Declare) -> Mapping[Label, Rule]:
    """onnx, with two dynamic dimensions, and half, made of it."""
    rules = [
        declare(
            onnx_model,
            name="onnx",
            checkpoint=":weights",
            inputs={"ids": tensor("int64", ("batch", "sequence"))},
            outputs=["y"],
            dims={"batch": (1, 8, 32), "sequence": (8, 64, 256)},
        ),
        declare(fp16, name="half", model=":onnx"),
    ]
    return {Label("models/x", rule.name): rule for rule in rules}


def problem(declare: Declare, chain: Mapping[Label, Rule], **attributes: Any) -> str:
    with pytest.raises((DeclarationError, AttributeProblem)) as caught:
        list(declare(tensorrt_engine, **{**ENGINE, **attributes}).expand("models/x", chain.__getitem__))
    return str(caught.value)


def test_a_matrix_is_one_engine_for_each_architecture_and_a_group(declare: Declare, chain: Mapping[Label, Rule]) -> None:
    matrix = declare(tensorrt_engine, **ENGINE, dims={"batch": (2, 4, 4)}, workspace_mib=64)
    *engines, group = matrix.expand("models/x", chain.__getitem__)
    assert [(engine.name, engine.arch) for engine in engines] == [("engine_sm_80", "sm_80"), ("engine_sm_89", "sm_89")]
    assert all(engine.dims == {"batch": (2, 4, 4), "sequence": (8, 64, 256)} for engine in engines)
    assert group == Group(name="engine", members=(Label("models/x", "engine_sm_80"), Label("models/x", "engine_sm_89")))


def test_an_engine_becomes_an_action(declare: Declare, chain: Mapping[Label, Rule], action_of: Callable[[Rule], Action]) -> None:
    matrix = declare(tensorrt_engine, **{**ENGINE, "archs": ["sm_75", "sm_90"]})
    here, elsewhere, _ = matrix.expand("models/x", chain.__getitem__)
    assert isinstance(here, Engine)
    action = action_of(here)
    assert {name: artifact.path for name, artifact in action.outputs.items()} == {
        "engine": "build/models/x/engine_sm_75.engine", "sidecar": "build/models/x/engine_sm_75.json",
    }  # fmt: skip
    assert action.requires == {}
    assert action_of(elsewhere).requires == {"gpu": "sm_90"}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"archs": []}, "archs: expected at least one architecture, as 'sm_80'"),
        (
            {"archs": ["sm_80", "sm_81"]},
            "archs: 'sm_81' is not a known architecture (there are: sm_75, sm_80, sm_86, sm_87, sm_89, sm_90, ",
        ),
        ({"archs": ["sm_80", "sm_80"]}, "archs: 'sm_80' is listed twice"),
        ({"archs": "sm_80"}, "archs: expected a list, each item a string, got 'sm_80'"),
        ({"dims": {"batch": (8, 4, 2)}}, "dims['batch']: (8, 4, 2) is out of order: expected (min, opt, max)"),
        ({"dims": {"batch": (0, 4, 8)}}, "dims['batch']: min is 0"),
        ({"dims": {"bach": (1, 4, 8)}}, "dims['bach']: models/x:onnx has no such dimension (did you mean 'batch'?)"),
        ({"dims": {"batch": (1, 4, 64)}}, "dims['batch']: models/x:onnx was exported for sizes 1 to 32 only"),
        ({"dims": {"sequence": (1, 8, 8)}}, "dims['sequence']: models/x:onnx was exported for sizes 8 to 256 only"),
        ({"workspace_mib": 0}, "workspace_mib: is 0: expected at least 1 MiB"),
        ({"optimization_level": 6}, "optimization_level: is 6: expected 0 to 5"),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Declare, chain: Mapping[Label, Rule], attributes: Mapping[str, Any], message: str) -> None:
    assert message in problem(declare, chain, **attributes)


def test_models_that_are_made_of_each_other_end(declare: Declare) -> None:
    circle = {Label("models/x", name): declare(fp16, name=name, model=f":{other}") for name, other in (("half", "a"), ("a", "half"))}
    assert list(declare(tensorrt_engine, **ENGINE).expand("models/x", circle.__getitem__))


def half_model(body: str = "z = MatMul(x, w) y = Relu(z)", x: str = "float16[batch, 4]", y: str = "float16[batch, 2]") -> onnx.ModelProto:
    made = parse_model(f'<ir_version: 10, opset_import: ["" : 20]> net ({x} x) => ({y} y) {{ {body} }}')
    if " w)" in body:
        made.graph.initializer.append(numpy_helper.from_array(np.linspace(-1, 1, 8).reshape(4, 2).astype(np.float16), "w"))
    return made


def run(folder: Path, **params: Any) -> str:
    """Build net.onnx in a process of its own, as an action does. Returns what it printed."""
    given = {"arch": "sm_80", "dims": DIMS, "workspace_mib": None, "optimization_level": None, **params}
    command = [sys.executable, "-c", RUN, json.dumps(given)]
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(folder: Path, model: onnx.ModelProto, **params: Any) -> tuple[bytes, dict[str, Any]]:
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    printed = run(folder, **params)
    assert "ActionError" not in printed
    return (folder / "net.engine").read_bytes(), json.loads((folder / "net.json").read_text())


def failure(folder: Path, model: onnx.ModelProto | None = None, **params: Any) -> str:
    if model is not None:
        (folder / "net.onnx").write_bytes(model.SerializeToString())
    _, marker, reason = run(folder, **params).partition("ActionError: ")
    assert marker
    assert not (folder / "net.engine").exists() and not (folder / "net.json").exists()
    assert "cudaError" not in reason
    return reason


def test_the_sidecar_says_what_the_engine_is(tmp_path: Path) -> None:
    engine, sidecar = built(tmp_path, half_model(), workspace_mib=64, optimization_level=3)
    version = sidecar["backend"].pop("version")
    weights = sidecar["engine"].pop("weight_bytes")
    assert version[0].isdigit() and weights >= 16
    assert sidecar == {
        "format": 1,
        "arch": "sm_80",
        "backend": {"name": "tensorrt_rtx"},
        "engine": {"sha256": hashlib.sha256(engine).hexdigest(), "size": len(engine)},
        "io": [
            {"name": "x", "mode": "input", "dtype": "float16", "shape": ["batch", 4]},
            {"name": "y", "mode": "output", "dtype": "float16", "shape": ["batch", 2]},
        ],
        "precision": "float16",
        "profiles": [{"x": [[1, 4], [2, 4], [8, 4]]}],
        "settings": {"workspace_mib": 64, "optimization_level": 3},
        "sources": {"onnx": {"sha256": hashlib.sha256((tmp_path / "net.onnx").read_bytes()).hexdigest()}},
    }


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    first = built(tmp_path, half_model())
    assert built(tmp_path, half_model()) == first
    assert built(tmp_path, half_model(), dims={"batch": [1, 2, 4]})[0] != first[0]


@pytest.mark.parametrize(("arch", "bit"), [("sm_75", 1), ("sm_120", 0x10), ("sm_121", 0x20)])
def test_each_architecture_is_in_the_header(tmp_path: Path, arch: str, bit: int) -> None:
    engine, sidecar = built(tmp_path, half_model(), arch=arch)
    assert engine[:4] == b"vtrt" and struct.unpack_from("<Q", engine, 32) == (bit,)
    assert sidecar["arch"] == arch


def test_a_static_model_needs_no_profile(tmp_path: Path) -> None:
    _, sidecar = built(tmp_path, half_model(x="float16[3, 4]", y="float16[3, 2]"), dims={})
    assert sidecar["profiles"] == [] and sidecar["io"][0]["shape"] == [3, 4]


def test_precision_follows_the_weights(tmp_path: Path) -> None:
    single = half_model(x="float[batch, 4]", y="float[batch, 2]")
    single.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((4, 2), np.float32), "w"))
    assert built(tmp_path, single)[1]["precision"] == "float32"
    assert built(tmp_path, half_model("y = Relu(x)", "float[batch, 2]", "float[batch, 2]"))[1]["precision"] == "float32"


def test_an_operator_that_tensorrt_does_not_have(tmp_path: Path) -> None:
    model = half_model("y = Det(x)", "float[batch, 3, 3]", "float[batch]")
    model.graph.node[0].name = "node_det"
    reason = failure(tmp_path, model)
    assert reason.startswith("TensorRT cannot read net.onnx")
    assert "In node 0 with name: node_det and operator: Det (checkDet): UNSUPPORTED_NODE" in reason


def test_a_plugin_that_is_missing(tmp_path: Path) -> None:
    model = half_model("y = org.example.Swirl(x)")
    model.opset_import.append(onnx.helper.make_opsetid("org.example", 1))
    reason = failure(tmp_path, model)
    assert "Swirl" in reason and "Plugin not found" in reason


def test_a_float32_product_on_sm_75(tmp_path: Path) -> None:
    single = half_model(x="float[batch, 4]", y="float[batch, 2]")
    single.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((4, 2), np.float32), "w"))
    reason = failure(tmp_path, single, arch="sm_75")
    assert reason.startswith("TensorRT could not build an engine for sm_75:\n") and "FP32 GEMM is not supported" in reason


def test_a_dynamic_dimension_always_has_a_range(tmp_path: Path) -> None:
    assert "input x has the dynamic dimension 'batch' and no range for it: add it to dims" in failure(tmp_path, half_model(), dims={})


def test_a_range_for_no_dimension(tmp_path: Path) -> None:
    reason = failure(tmp_path, half_model(x="float16[3, 4]", y="float16[3, 2]"))
    assert "dims: no input of the model has a dimension 'batch' (there are: none)" in reason


def test_an_architecture_tensorrt_rtx_lacks(tmp_path: Path) -> None:
    assert failure(tmp_path, half_model(), arch="sm_90").startswith("TensorRT-RTX cannot build for sm_90 (it builds for sm_75, sm_80,")


def test_a_checkpoint_is_no_onnx_model(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "net.onnx")
    assert failure(tmp_path).startswith("net.onnx is a PyTorch checkpoint (or another zip archive), not an ONNX model")


@pytest.mark.parametrize("content", [b"", b"This is no model.\n", half_model().SerializeToString()[:-9]])
def test_what_is_no_onnx_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    assert "not an ONNX model" in failure(tmp_path)
