from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.parser import parse_model

from enginewright.model.onnx_facts import describe, element_types, float32_nodes


def model(body: str, x: str = "float16[batch, 2]", y: str = "float16[batch, 2]", **weights: np.ndarray) -> onnx.ModelProto:
    made = parse_model(f'<ir_version: 10, opset_import: ["" : 20]> net ({x} x) => ({y} y) {{ {body} }}')
    made.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    for number, node in enumerate(made.graph.node):
        node.name = f"{node.op_type}_{number}"
    return made


MIXED = model("a = Cast <to: int = 1> (x) b = Exp(a) c = Cast <to: int = 10> (b) y = Relu(c)")
QUANTISED = model(
    "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Relu(d)",
    x="float[batch, 2]",
    y="float[batch, 2]",
    s=np.float32(0.1),
    z=np.int8(0),
)


def test_the_types_that_are_computed_with() -> None:
    assert element_types(model("y = Relu(x)")) == ("float16",)
    assert element_types(MIXED) == ("float16", "float32")
    assert element_types(QUANTISED) == ("float32", "int8")


def test_what_computes_in_float32_is_more_than_a_cast() -> None:
    assert float32_nodes(MIXED) == ["Exp_1"]
    assert float32_nodes(QUANTISED) == ["Relu_2"]
    assert float32_nodes(model("y = Relu(x)")) == []


def test_operators_in_branches_count() -> None:
    then, other = "t () => (float16[2] u) { u = Relu(v) }", "e () => (float16[2] u) { u = Exp(v) }"
    body = f"y = If (c) <then_branch = {then}, else_branch = {other}>"
    branches = model(body, c=np.bool_(True), v=np.ones(2, np.float16))
    assert describe(branches)["operators"] == {"Exp": 1, "If": 1, "Relu": 1}


@pytest.mark.parametrize(("made", "precision"), [(MIXED, "float16"), (QUANTISED, "int8")])
def test_precision(made: onnx.ModelProto, precision: str) -> None:
    assert describe(made)["precision"] == precision
