from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.parser import parse_model

from enginewright.errors import DeclarationError
from enginewright.graph.action import Action, Artifact
from enginewright.graph.attributes import AttributeProblem
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Group, Rule
from enginewright.model.shapes import tensor
from enginewright.rules.engine import Engine, find_engine, tensorrt_engine
from enginewright.rules.fp16 import fp16
from enginewright.rules.onnx import onnx_model
from enginewright.rules.python_action import python_action
from enginewright.tensorrt.sidecar import damage, unfit

Declare = Callable[..., Any]

ENGINE: Mapping[str, Any] = {"name": "engine", "model": ":half", "archs": ["sm_80", "sm_89"]}
DIMS = {"batch": [1, 2, 8]}
RUN = """
import json, sys
from pathlib import Path
from enginewright.rules.engine import build
from enginewright.errors import ActionError
params, inputs = json.loads(sys.argv[1])
try:
    build({name: Path(path) for name, path in inputs.items()}, {"engine": Path("net.engine"), "sidecar": Path("net.json")}, params)
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
    assert all(engine.profiles == ({"batch": (2, 4, 4), "sequence": (8, 64, 256)},) for engine in engines)
    assert all(engine.backend == "tensorrt_rtx" and engine.workspace_mib == 64 for engine in engines)
    assert group == Group(name="engine", members=(Label("models/x", "engine_sm_80"), Label("models/x", "engine_sm_89")))


def test_an_engine_becomes_an_action(declare: Declare, chain: Mapping[Label, Rule], action_of: Callable[[Rule], Action]) -> None:
    matrix = declare(tensorrt_engine, **{**ENGINE, "archs": ["T4", "hopper"]})
    here, elsewhere, _ = matrix.expand("models/x", chain.__getitem__)
    assert isinstance(here, Engine)
    action = action_of(here)
    assert {name: artifact.path for name, artifact in action.outputs.items()} == {
        "engine": "build/models/x/engine_sm_75.engine", "sidecar": "build/models/x/engine_sm_75.json",
    }  # fmt: skip
    assert action.requires == {} and action.packages == ("tensorrt-rtx", "onnx") and action.previous == ()
    action = action_of(elsewhere)
    assert action.requires == {"gpu": "sm_90"} and action.packages == ("tensorrt", "onnx")
    # What was measured on the GPU is kept for the next build, and is nothing that the target is for.
    assert action.outputs["timing_cache"].path == "build/models/x/engine_sm_90.timing_cache"
    assert action.previous == ("timing_cache",) and "timing_cache" not in elsewhere.provided()


def test_each_profile_has_all_dimensions(declare: Declare, chain: Mapping[Label, Rule]) -> None:
    profiles = [{"batch": (1, 1, 1)}, {"batch": (2, 8, 32), "sequence": (8, 8, 16)}]
    engine, *_ = declare(tensorrt_engine, **ENGINE, profiles=profiles).expand("models/x", chain.__getitem__)
    assert engine.profiles == (
        {"batch": (1, 1, 1), "sequence": (8, 64, 256)}, {"batch": (2, 8, 32), "sequence": (8, 8, 16)},
    )  # fmt: skip


def test_what_an_engine_is_made_from_is_its_input(declare: Declare, chain: Mapping[Label, Rule]) -> None:
    attributes = {"archs": ["sm_80"], "backend": "tensorrt", "timing_cache": "sm_80.cache", "plugins": ["libswirl.so", "lib/b.so"]}
    engine, _ = declare(tensorrt_engine, **{**ENGINE, **attributes}).expand("models/x", chain.__getitem__)
    model = {"onnx": Artifact("build/models/x/half.onnx"), "data": Artifact("build/models/x/half.onnx.data")}
    action = engine.action(Context(Label("models/x", engine.name), lambda label: model))
    assert action is not None
    assert {name: artifact.path for name, artifact in action.inputs.items()} == {
        "model": "build/models/x/half.onnx",
        "data": "build/models/x/half.onnx.data",
        "timing_cache": "models/x/sm_80.cache",
        "plugins/libswirl.so": "models/x/libswirl.so",
        "plugins/lib/b.so": "models/x/lib/b.so",
    }


def test_dims_of_a_model_that_declares_none_are_for_the_build_to_check(declare: Declare) -> None:
    made = declare(python_action, name="half", function="make.py:make", outputs={"onnx": "net.onnx"})
    engine, *_ = declare(tensorrt_engine, **ENGINE, dims=DIMS).expand("models/x", {Label("models/x", "half"): made}.__getitem__)
    assert engine.profiles == ({"batch": (1, 2, 8)},)


@pytest.mark.parametrize(
    ("label", "arch", "found"),
    [(":engine_sm_80", "", "engine_sm_80"), (":engine", "sm_89", "engine_sm_89"), (":engine", "L4", "engine_sm_89")],
)
def test_an_engine_is_found_by_its_name_or_its_architecture(
    declare: Declare, chain: Mapping[Label, Rule], label: str, arch: str, found: str
) -> None:
    known = {**chain, Label("models/x", "engine"): declare(tensorrt_engine, **ENGINE)}
    there, engine = find_engine(Label.parse(label, "models/x"), arch, known.__getitem__)
    assert there == Label("models/x", found) and engine.name == found


@pytest.mark.parametrize(
    ("label", "arch", "problem"),
    [
        (":engine", "", "arch: models/x:engine is one engine for each architecture: name one of :engine_sm_80, :engine_sm_89"),
        (":engine", "sm_90", "arch: models/x:engine has no engines for sm_90: name one of :engine_sm_80, :engine_sm_89"),
        (":engine_sm_90", "", "engine: models/x:engine has no engines for sm_90: name one of :engine_sm_80, :engine_sm_89"),
        (":engine", "sm_81", "arch: 'sm_81' is no architecture, GPU or family that is known (did you mean 'sm_"),
        (":half", "", "engine: models/x:half is a fp16: name an engine of a tensorrt_engine(), as ':engine_sm_90'"),
    ],
)
def test_an_engine_that_is_not_found(declare: Declare, chain: Mapping[Label, Rule], label: str, arch: str, problem: str) -> None:
    known = {**chain, Label("models/x", "engine"): declare(tensorrt_engine, **ENGINE)}
    with pytest.raises(AttributeProblem) as caught:
        find_engine(Label.parse(label, "models/x"), arch, known.__getitem__)
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"archs": []}, "archs: expected at least one architecture, as 'sm_80'"),
        (
            {"archs": ["sm_80", "sm_81"]},
            "archs: 'sm_81' is no architecture, GPU or family that is known (did you mean 'sm_",
        ),
        ({"archs": ["sm_80", "sm_80"]}, "archs: 'sm_80' is listed twice"),
        ({"archs": ["A100", "sm_80"]}, "archs: 'A100' and 'sm_80' both mean sm_80: leave one out"),
        ({"archs": "sm_80"}, "archs: expected a list, each item a string, got 'sm_80'"),
        ({"backend": "rtx"}, "backend: expected 'auto' or 'tensorrt' or 'tensorrt_rtx', got 'rtx'"),
        (
            {"archs": ["sm_90"], "backend": "tensorrt_rtx"},
            "backend: TensorRT-RTX cannot build for sm_90 (it builds for sm_75, sm_80, sm_86, sm_89, sm_120, sm_121): write backend='auto'",
        ),
        (
            {"version_compatible": True},
            "version_compatible: TensorRT-RTX, which builds for sm_80, has no such thing: write backend='tensorrt'",
        ),
        ({"hardware_compatibility": "ampere_plus"}, "hardware_compatibility: TensorRT-RTX, which builds for sm_80, has no such thing"),
        (
            {"hardware_compatibility": "all"},
            "hardware_compatibility: expected 'ampere_plus' or 'same_compute_capability' or None, got 'all'",
        ),
        (
            {"timing_cache": "sm_80.cache"},
            "timing_cache: TensorRT-RTX, which builds for sm_80, has no such thing: write backend='tensorrt'",
        ),
        ({"timing_cache": "../sm_80.cache", "backend": "tensorrt"}, "timing_cache: '../sm_80.cache' must be a path below the package"),
        ({"plugins": ["a.so", "a.so"]}, "plugins[0]: 'a.so' is listed twice"),
        ({"plugins": ["/opt/a.so"]}, "plugins[0]: '/opt/a.so' must be a path below the package"),
        (
            {"profiles": [{"batch": (1, 2, 8)}], "dims": DIMS},
            "profiles: dims is one profile and profiles are all of them: give one of the two",
        ),
        ({"profiles": [{"batch": (8, 4, 8)}]}, "profiles[0]['batch']: (8, 4, 8) is out of order: expected (min, opt, max)"),
        ({"profiles": [{}, {"batch": (1, 9, 8)}]}, "profiles[1]['batch']: (1, 9, 8) is out of order: expected (min, opt, max)"),
        ({"profiles": [{"batch": (1, 4, 64)}]}, "profiles[0]['batch']: models/x:onnx was exported for sizes 1 to 32 only"),
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


def run(folder: Path, inputs: Mapping[str, str] | None = None, dims: Mapping[str, Any] = DIMS, **params: Any) -> str:
    """Build net.onnx in a process of its own, as an action does. Returns what it printed."""
    given = {
        "arch": "sm_80", "backend": "tensorrt_rtx", "profiles": [dims], "workspace_mib": None, "optimization_level": None,
        "version_compatible": False, "hardware_compatibility": None, **params,
    }  # fmt: skip
    command = [sys.executable, "-c", RUN, json.dumps([given, {"model": "net.onnx", **(inputs or {})}])]
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(folder: Path, model: onnx.ModelProto, **params: Any) -> tuple[bytes, dict[str, Any]]:
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    printed = run(folder, **params)
    assert "ActionError" not in printed
    return (folder / "net.engine").read_bytes(), json.loads((folder / "net.json").read_text())


def failure(folder: Path, model: onnx.ModelProto | None = None, inputs: Mapping[str, str] | None = None, **params: Any) -> str:
    if model is not None:
        (folder / "net.onnx").write_bytes(model.SerializeToString())
    _, marker, reason = run(folder, inputs, **params).partition("ActionError: ")
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
        "device_memory": None,
        "engine": {"sha256": hashlib.sha256(engine).hexdigest(), "size": len(engine)},
        "io": [
            {"name": "x", "mode": "input", "dtype": "float16", "shape": ["batch", 4]},
            {"name": "y", "mode": "output", "dtype": "float16", "shape": ["batch", 2]},
        ],
        "precision": "float16",
        "profiles": [{"x": [[1, 4], [2, 4], [8, 4]]}],
        "settings": {"workspace_mib": 64, "optimization_level": 3, "version_compatible": False, "hardware_compatibility": None},
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


def test_an_engine_and_its_sidecar_fit(tmp_path: Path) -> None:
    engine, facts = built(tmp_path, half_model())
    assert damage(tmp_path / "net.engine", facts) == ""
    assert unfit(facts, ["sm_80"], {"tensorrt_rtx": facts["backend"]["version"]}) == ""
    (tmp_path / "net.engine").write_bytes(engine[:-1])
    assert damage(tmp_path / "net.engine", facts) == f"net.engine is cut off: it has {len(engine) - 1} of {len(engine)} bytes"
    built(tmp_path, half_model(), arch="sm_89")
    assert damage(tmp_path / "net.engine", facts) == "net.engine is an engine for sm_89, and its sidecar describes one for sm_80"


def test_several_profiles(tmp_path: Path) -> None:
    _, sidecar = built(tmp_path, half_model(), profiles=[{"batch": [1, 1, 1]}, {"batch": [2, 4, 8]}])
    assert sidecar["profiles"] == [{"x": [[1, 4], [1, 4], [1, 4]]}, {"x": [[2, 4], [4, 4], [8, 4]]}]


def with_data(folder: Path, model: onnx.ModelProto) -> None:
    """Write a model with its weights in net.onnx.data."""
    onnx.save_model(model, str(folder / "net.onnx"), save_as_external_data=True, location="net.onnx.data", size_threshold=0)


DATA = {"data": "net.onnx.data"}


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    inside, _ = built(tmp_path, half_model())
    with_data(tmp_path, half_model())
    assert "ActionError" not in run(tmp_path, DATA)
    sidecar = json.loads((tmp_path / "net.json").read_text())
    assert (tmp_path / "net.engine").stat().st_size == len(inside)
    assert sidecar["sources"]["data"] == {"sha256": hashlib.sha256((tmp_path / "net.onnx.data").read_bytes()).hexdigest()}
    assert sidecar["precision"] == "float16"


def test_weights_that_are_cut_off(tmp_path: Path) -> None:
    with_data(tmp_path, half_model())
    (tmp_path / "net.onnx.data").write_bytes((tmp_path / "net.onnx.data").read_bytes()[:-1])
    reason = failure(tmp_path, inputs=DATA)
    assert reason.startswith("net.onnx.data is truncated, or belongs to another model: net.onnx expects 16 bytes of w from 0 on")


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


@pytest.mark.parametrize(("content", "what"), [(b"text", "file too short"), (None, "cannot open shared object file")])
def test_a_plugin_that_is_no_library(tmp_path: Path, content: bytes | None, what: str) -> None:
    if content is not None:
        (tmp_path / "libswirl.so").write_bytes(content)
    reason = failure(tmp_path, half_model(), inputs={"plugins/libswirl.so": str(tmp_path / "libswirl.so")})
    assert reason.startswith("plugins: libswirl.so is no shared library that can be loaded here: ") and what in reason


def test_a_backend_that_is_missing(tmp_path: Path) -> None:
    if find_spec("tensorrt") is None:
        assert failure(tmp_path, half_model(), backend="tensorrt", arch="sm_90").startswith("tensorrt cannot be imported: ")


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
