from __future__ import annotations

from collections import Counter
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from converted import SAMPLES, Conversion, model
from enginewright.errors import ActionError
from enginewright.model.bfloat16 import emulated
from enginewright.model.onnx_format import check_model
from enginewright.model.runtime import outputs_of
from enginewright.rules.bf16 import convert

W = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
NET = "z = MatMul(x, w) r = Relu(z) y = Mul(r, r)"


@pytest.fixture
def bf16(tmp_path: Path) -> Conversion:
    return Conversion(convert, tmp_path)


def test_everything_is_bfloat16_and_close(bf16: Conversion) -> None:
    half = bf16.run(model(NET, w=W))
    assert [value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)] == [TensorProto.BFLOAT16] * 2
    assert [weight.data_type for weight in half.graph.initializer] == [TensorProto.BFLOAT16]
    assert Counter(node.op_type for node in half.graph.node) == {"MatMul": 1, "Relu": 1, "Mul": 1}
    figures = bf16.report["outputs"]["y"][1]
    assert 0 < figures["max_abs"] < 0.05 and "rounded" in bf16.report["method"]


def test_what_is_measured_is_what_bfloat16_computes(bf16: Conversion) -> None:
    half = bf16.run(model(NET, w=W))
    stand_in = emulated(half)
    check_model(stand_in, "the stand-in")

    def rounded(array: np.ndarray) -> np.ndarray:
        return np.asarray(array, ml_dtypes.bfloat16).astype(np.float32)

    for sample, found in zip(SAMPLES, outputs_of(stand_in.SerializeToString(), SAMPLES, "it"), strict=True):
        z = np.maximum(rounded(rounded(sample["x"]) @ rounded(W)), 0)
        np.testing.assert_array_equal(found["y"], rounded(z * z))


def test_excluded_operators_stay_float32_between_casts(bf16: Conversion) -> None:
    given = model(NET, w=W)
    given.graph.node[2].name = "square"
    one = bf16.run(given, exclude_ops=["MatMul"])
    assert Counter(node.op_type for node in one.graph.node) == {"MatMul": 1, "Relu": 1, "Mul": 1, "Cast": 2}
    assert [weight.data_type for weight in one.graph.initializer] == [TensorProto.FLOAT]
    # Between neighbours in float32, nothing is rounded.
    all_but_io = bf16.run(given, exclude_ops=["MatMul", "Relu", "square"])
    assert Counter(node.op_type for node in all_but_io.graph.node) == {"MatMul": 1, "Relu": 1, "Mul": 1, "Cast": 2}


def test_operators_without_bfloat16_stay_float32(bf16: Conversion) -> None:
    # ONNX has no Range of bfloat16, and Resize takes its scales in float32.
    body = (
        'r = Range(zero, four, one) z = Mul(x, r) u = Unsqueeze(z, axes) t = Resize<mode = "nearest">(u, , scales) '
        "s = Squeeze(t, axes) y = MatMul(s, w)"
    )
    weights = {
        "zero": np.array(0, np.float32), "four": np.array(4, np.float32), "one": np.array(1, np.float32), "w": W,
        "axes": np.array([1]), "scales": np.ones(3, np.float32),
    }  # fmt: skip
    half = bf16.run(model(body, **weights))
    kept = {weight.name for weight in half.graph.initializer if weight.data_type == TensorProto.FLOAT}
    assert kept == {"zero", "four", "one", "scales"}
    assert Counter(node.op_type for node in half.graph.node)["Cast"] == 1


def test_weights_read_in_both_are_there_twice(bf16: Conversion) -> None:
    given = model("a = MatMul(x, w) b = Neg(w) c = ReduceSum<keepdims = 1>(b) y = Add(a, c)", w=W)
    given.graph.node[1].name = "negation"
    half = bf16.run(given, exclude_ops=["negation"])
    assert Counter(weight.data_type for weight in half.graph.initializer) == {TensorProto.FLOAT: 1, TensorProto.BFLOAT16: 1}


def test_constants_and_casts_say_their_type(bf16: Conversion) -> None:
    body = (
        "half = Constant<value_float = 0.5>() some = Constant<value_floats = [1.0, 2.0]>() d = Cast<to = 11>(x) f = Cast<to = 1>(d) "
        "shape = Constant<value_ints = [2]>() zeros = ConstantOfShape(shape) "
        "z = MatMul(f, w) a = Mul(z, half) b = Add(a, some) y = Add(b, zeros)"
    )
    half = bf16.run(model(body, w=W))
    assert bf16.report["verdict"] == "passed" and "Cast" in {node.op_type for node in half.graph.node}


def test_a_conversion_that_loses_too_much_is_stopped(bf16: Conversion) -> None:
    body = "a = Add(x, big) b = Sub(a, big) y = MatMul(b, w)"  # at 1e4, neighbours are 64 apart
    with pytest.raises(ActionError, match="the bfloat16 model is not within tolerance of the float32 model:") as caught:
        bf16.run(model(body, w=W, big=np.array(1e4, np.float32)))
    assert "bfloat16 keeps 8 bits of a number" in str(caught.value)
    bf16.run(model(body, w=W, big=np.array(1e4, np.float32)), exclude_ops=["Add", "Sub"])


def test_a_subgraph_is_refused(bf16: Conversion) -> None:
    then = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["w"], ["v"])], "then", [], [onnx.helper.make_tensor_value_info("v", TensorProto.FLOAT, [4, 2])]
    )
    given = model("y = MatMul(x, u)", w=W, c=np.array(True))
    given.graph.node.insert(0, onnx.helper.make_node("If", ["c"], ["u"], name="choice", then_branch=then, else_branch=then))
    with pytest.raises(ActionError, match=r"operator choice \(If\) has a subgraph, which bf16\(\) does not convert: use fp16\(\)"):
        bf16.run(given)
