"""What fp16(), bf16() and int8() have in common: where their reference comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from enginewright import bf16, fp16, int8, onnx_file, onnx_model, python_action, tensor, tolerance
from enginewright.errors import DeclarationError
from enginewright.graph.dag import Graph, analyse
from enginewright.graph.label import Label
from enginewright.graph.rule import Declared, Location, Rule

Declare = Callable[..., Rule]


def graph(*rules: Rule) -> Graph:
    return analyse({"models/x": [Declared(rule, Location("models/x/BUILD.py", i)) for i, rule in enumerate(rules, start=1)]})


@pytest.fixture
def onnx(declare: Declare) -> list[Rule]:
    weights = declare(python_action, name="weights", function="a.py:f", outputs={"checkpoint": "w.safetensors"})
    return [weights, declare(onnx_model, name="onnx", checkpoint=":weights", inputs={"x": tensor("float32", (1, 4))}, outputs=["y"])]


def test_the_reference_is_found_up_the_chain(declare: Declare, onnx: list[Rule]) -> None:
    small = declare(int8, name="small", model=":onnx", calibration="a.npz")
    found = graph(*onnx, small, declare(fp16, name="smaller", model=":small")).targets
    for name in ("small", "smaller"):
        action = found[Label("models/x", name)].action
        assert action is not None
        assert action.inputs["reference"].path == "build/models/x/onnx.reference.npz"
        assert action.outputs["parity"].path == f"build/models/x/{name}.parity.json"
        assert Label("models/x", "onnx") in found[Label("models/x", name)].deps


def test_another_reference_can_be_named(declare: Declare, onnx: list[Rule]) -> None:
    other = declare(onnx_file, name="other", src="a.onnx")
    found = graph(*onnx, other, declare(bf16, name="half", model=":onnx", reference=":other")).targets
    action = found[Label("models/x", "half")].action
    assert action is not None and action.inputs["reference"].path == "build/models/x/other.reference.npz"


def test_a_model_without_a_reference_has_no_gate(declare: Declare) -> None:
    made = declare(python_action, name="made", function="a.py:f", outputs={"onnx": "a.onnx"})
    action = graph(made, declare(fp16, name="half", model=":made")).targets[Label("models/x", "half")].action
    assert action is not None and "reference" not in action.inputs and action.outputs.keys() == {"onnx"}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"model": ":onnxx"}, "half.*: model: there is no target 'models/x:onnxx' .did you mean 'onnx'"),
        ({"model": ":onnx", "reference": ":weights"}, "reference: expected a target that provides 'reference'"),
        ({"model": ":half"}, "models/x:half depends on itself"),
    ],
)
def test_a_chain_that_leads_nowhere(declare: Declare, onnx: list[Rule], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        graph(*onnx, declare(fp16, name="half", **attributes))


def test_what_is_declared_of_the_gate_is_in_the_action(declare: Declare, onnx: list[Rule]) -> None:
    rule = declare(
        fp16, name="half", model=":onnx", tolerance=tolerance(max_abs=1, cosine=0.5), metric="m/top.py:top1", floor=1, srcs=["m/b.py"],
        packages=["scipy"],
    )  # fmt: skip
    action = graph(*onnx, rule).targets[Label("models/x", "half")].action
    assert action is not None
    assert action.params["gate"] == {"tolerance": {"max_abs": 1, "max_rel": None, "cosine": 0.5}, "metric": "top1", "floor": 1}
    assert {"models/x/m/top.py", "models/x/m/b.py"} < {artifact.path for artifact in action.inputs.values()}
    assert "scipy" in action.packages


def test_calibration_data_are_inputs(declare: Declare, onnx: list[Rule]) -> None:
    images = ["a.jpg", "dist://scikit-learn/b.jpg"]
    rules = [
        declare(int8, name="a", model=":onnx", calibration="data/a.npz"),
        declare(int8, name="b", model=":onnx", calibration=images, preprocess="p.py:prepare"),
        declare(int8, name="c", model=":onnx", calibration="p.py:samples"),
    ]
    found = graph(*onnx, *rules).targets
    for name, expected in {
        "a": ["models/x/data/a.npz"],
        "b": ["external/scikit-learn/b.jpg", "models/x/a.jpg", "models/x/p.py"],
        "c": ["models/x/p.py"],
    }.items():
        action = found[Label("models/x", name)].action
        assert action is not None
        assert sorted(artifact.path for artifact in action.inputs.values() if not artifact.path.startswith("build/")) == expected


def test_calibration_data_are_needed(declare: Declare) -> None:
    with pytest.raises(DeclarationError, match="calibration: expected a "):
        declare(int8, name="small", model=":onnx", calibration=[])


def test_weights_in_a_file_of_their_own_go_down_the_chain(declare: Declare, onnx: list[Rule]) -> None:
    inputs = {"x": tensor("float32", (1, 4))}
    large = declare(onnx_model, name="large", checkpoint=":weights", inputs=inputs, outputs=["y"], external_data=True)
    for rule in (fp16, bf16):
        action = graph(*onnx, large, declare(rule, name="half", model=":large")).targets[Label("models/x", "half")].action
        assert action is not None
        assert (action.inputs["data"].path, action.outputs["data"].path) == (
            "build/models/x/large.onnx.data",
            "build/models/x/half.onnx.data",
        )
