"""model_repository(): what it accepts, and the folders it makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from converted import model
from enginewright import onnx_file, tensorrt_engine
from enginewright.bundle.sums import SUMS, decode, unsealed
from enginewright.errors import ActionError, DeclarationError
from enginewright.graph.dag import Graph, analyse
from enginewright.graph.label import Label
from enginewright.rules.model_repository import model_repository, write_repository
from stand_ins import build, build_file, engines
from triton_schema import ModelConfig

W = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)


def declared(**attributes: Any) -> Graph:
    with build_file("models/minilm") as there:
        engines(name="engine", archs=("sm_120", "sm_80"))
        onnx_file(name="onnx", src="net.onnx", dims={"batch": (1, 3, 8)})
        tensorrt_engine(name="rtx", model=":onnx", archs=["sm_80"])
        tensorrt_engine(name="trt", model=":onnx", archs=["sm_80"], backend="tensorrt")
    with build_file("models/served") as served:
        model_repository(name="triton", **{"models": {"minilm": "models/minilm:engine"}, **attributes})
    return analyse({"models/minilm": there, "models/served": served})


def made(folder: Path, **attributes: Any) -> tuple[Path, Any, int]:
    """The folder of the one model, its configuration and the number of its version, which is the only one."""
    graph = declared(**attributes)
    target = graph.targets[Label("models/served", "triton")]
    wanted = {label: graph.targets[label] for label in graph.closure([target.label])}
    (folder / "models/minilm").mkdir(parents=True, exist_ok=True)
    (folder / "models/served").mkdir(parents=True, exist_ok=True)
    (folder / "models/minilm/net.onnx").write_bytes(model("y = MatMul(x, w)", w=W).SerializeToString())
    (folder / "models/served/more.pbtxt").write_text("dynamic_batching { max_queue_delay_microseconds: 100 }")
    build(Graph(dict.fromkeys(wanted, ()), wanted, frozenset()), folder)
    repository = folder / "build/models/served/triton"
    assert unsealed(repository, decode((repository / SUMS).read_bytes(), "")) == ""
    (name,) = [path for path in repository.iterdir() if path.is_dir()]
    (version,) = [path for path in name.iterdir() if path.is_dir()]
    config = text_format.Parse((name / "config.pbtxt").read_text(), ModelConfig())
    assert config.name == name.name
    return name, config, int(version.name)


def test_engines_of_several_architectures(tmp_path: Path) -> None:
    folder, config, version = made(tmp_path)
    assert sorted(path.name for path in (folder / str(version)).iterdir()) == ["model_sm_120.plan", "model_sm_80.plan"]
    assert (folder / str(version) / "model_sm_80.plan").read_text() == "engine for sm_80"
    assert (config.platform, config.max_batch_size, dict(config.cc_model_filenames)) == (
        "tensorrt_plan", 32, {"8.0": "model_sm_80.plan", "12.0": "model_sm_120.plan"},
    )  # fmt: skip
    assert (list(config.version_policy.specific.versions), list(config.input[0].dims)) == ([version], [128])


def test_one_engine_has_the_name_that_triton_looks_for(tmp_path: Path) -> None:
    with build_file("models/minilm") as there:
        engines(name="engine", archs=("sm_80",))
        model_repository(name="triton", models={"m": ":engine"})
    build(analyse({"models/minilm": there}), tmp_path)
    (plan,) = (tmp_path / "build/models/minilm/triton/m").glob("*/model.plan")
    assert plan.read_text() == "engine for sm_80"
    assert "cc_model_filenames" not in (plan.parents[1] / "config.pbtxt").read_text()


def test_the_number_is_that_of_the_content(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a")[2], made(tmp_path / "b")[2]
    assert first == second
    with build_file("models/minilm") as there:
        engines(name="engine", archs=("sm_80", "sm_89"))
        model_repository(name="triton", models={"minilm": ":engine"})
    build(analyse({"models/minilm": there}), tmp_path / "c")
    (other,) = [path.name for path in (tmp_path / "c/build/models/minilm/triton/minilm").iterdir() if path.is_dir()]
    assert int(other) != first


def test_a_number_of_ones_own(tmp_path: Path) -> None:
    _, config, version = made(tmp_path, version=12)
    assert (version, config.version_policy.latest.num_versions) == (12, 1)


def test_an_onnx_model(tmp_path: Path) -> None:
    folder, config, version = made(tmp_path, models={"net": "models/minilm:onnx"})
    assert (config.platform, config.max_batch_size) == ("onnxruntime_onnx", 8)
    assert ([list(each.dims) for each in config.input], [each.name for each in config.output]) == ([[4]], ["y"])
    assert (folder / str(version) / "model.onnx").stat().st_size > 0


def test_text_of_ones_own(tmp_path: Path) -> None:
    assert made(tmp_path, config={"minilm": "more.pbtxt"})[1].dynamic_batching.max_queue_delay_microseconds == 100


def test_engines_of_tensorrt_and_of_a_backend_of_ones_own() -> None:
    declared(models={"m": "models/minilm:trt"})
    declared(models={"m": "models/minilm:trt_sm_80"})
    declared(models={"m": "models/minilm:rtx"}, backend="tensorrt_rtx")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"models": {}}, "models: is empty: a repository needs at least one model"),
        ({"models": {"a/b": "models/minilm:engine"}}, "models: 'a/b' cannot name a model in Triton"),
        ({"config": {"other": "more.pbtxt"}}, "config: 'other' is not in models"),
        ({"version": 0}, "version: is 0: Triton takes versions from 1"),
        ({"models": {"m": "models/minilm:rtx"}}, "models['m']: the engine for sm_80 is one of TensorRT-RTX, which Triton's"),
        ({"models": {"m": "models/minilm:rtx_sm_80"}}, "models['m']: the engine for sm_80 is one of TensorRT-RTX"),
        ({"models": {"m": "models/minilm:engin"}}, "models['m']: there is no target 'models/minilm:engin' (did you mean 'engine'?)"),
        ({"models": {"m": ":triton"}}, "models['m']: models/served:triton is a model_repository, which makes no engines"),
    ],
)  # fmt: skip
def test_what_is_refused(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^models/served/BUILD.py:\d+: model_repository\(name='triton'\): {re.escape(message)}"):
        declared(**attributes)


def test_engines_that_differ_in_their_tensors(tmp_path: Path) -> None:
    graph = declared()
    labels = [Label("models/minilm", f"engine_{arch}") for arch in ("sm_80", "sm_120")]
    build(Graph(dict.fromkeys(labels, ()), {label: graph.targets[label] for label in labels}, frozenset()), tmp_path)
    sidecar = tmp_path / "build/models/minilm/engine_sm_120.json"
    sidecar.write_text(sidecar.read_text().replace("int64", "int32"))
    action = graph.targets[Label("models/served", "triton")].action
    assert action is not None
    inputs = {name: tmp_path / artifact.path for name, artifact in action.inputs.items()}
    with pytest.raises(ActionError, match="minilm: the engines for sm_80 and sm_120 differ in io: Triton has one configuration for both"):
        write_repository(inputs, {"bundle": tmp_path / "out"}, dict(action.params))
