from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from converted import Conversion, model
from enginewright.errors import ActionError
from enginewright.rules import fp16
from enginewright.rules.int8 import convert

WEIGHTS = {
    "w": np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4),
    "v": np.linspace(1, -2, 8, dtype=np.float32).reshape(2, 4),
    "b": np.array([0.5, -0.5], np.float32),
}
NET = "z = MatMul(x, w) r = Relu(z) y = Gemm<transB = 1>(r, v, b)"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.save(tmp_path / "calibration.npy", np.random.default_rng(7).standard_normal((32, 4), np.float32))
    return tmp_path / "calibration.npy"


@pytest.fixture
def int8(tmp_path: Path) -> Conversion:
    return Conversion(convert, tmp_path)


def quantise(int8: Conversion, data: Path, given: onnx.ModelProto | None = None, **params: object) -> onnx.ModelProto:
    return int8.run(given or model(NET, **WEIGHTS), inputs={"samples/0": data}, **{"calibration": {"function": None}, **params})  # type: ignore[arg-type]


def test_products_are_int8_and_biases_are_not(int8: Conversion, data: Path) -> None:
    small = quantise(int8, data)
    # Two activations and no output are quantised; weights are stored as int8, per channel.
    assert Counter(node.op_type for node in small.graph.node) == {
        "QuantizeLinear": 2, "DequantizeLinear": 4, "MatMul": 1, "Relu": 1, "Gemm": 1,
    }  # fmt: skip
    stored = {onnx.helper.tensor_dtype_to_np_dtype(weight.data_type).name for weight in small.graph.initializer}
    assert "int32" not in stored and "int8" in stored
    assert next(weight for weight in small.graph.initializer if weight.name == "b").data_type == onnx.TensorProto.FLOAT
    assert 0.99 < int8.report["outputs"]["y"][1]["cosine"] < 1 and int8.report["reference"] == "the float32 model"


def test_a_convolution_says_its_kernel_once_its_weights_are_computed(int8: Conversion, data: Path) -> None:
    kernel = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 1, 2, 2)
    shape = np.array([-1, 1, 2, 2], np.int64)
    small = quantise(int8, data, model("i = Reshape(x, s) c = Conv(i, k) y = Flatten(c)", s=shape, k=kernel))
    (convolution,) = (node for node in small.graph.node if node.op_type == "Conv")
    assert {each.name: list(each.ints) for each in convolution.attribute} == {"kernel_shape": [2, 2]}


def test_the_bytes_are_the_same_each_time(int8: Conversion, data: Path) -> None:
    assert quantise(int8, data).SerializeToString(deterministic=True) == quantise(int8, data).SerializeToString(deterministic=True)


def test_other_calibration_data_give_other_scales(int8: Conversion, data: Path) -> None:
    before = quantise(int8, data)
    np.save(data, np.load(data) * 2)
    assert quantise(int8, data).SerializeToString() != before.SerializeToString()


def test_operators_are_excluded_by_type_and_by_name(int8: Conversion, data: Path) -> None:
    given = model(NET, **WEIGHTS)
    given.graph.node[0].name = "first"
    for excluded in ("MatMul", "first"):
        small = quantise(int8, data, given, exclude_ops=[excluded])
        assert Counter(node.op_type for node in small.graph.node)["QuantizeLinear"] == 1


def test_a_conversion_that_loses_too_much_is_stopped(int8: Conversion, data: Path) -> None:
    np.save(data, np.load(data) / 20)  # ranges a twentieth of those it meets later
    with pytest.raises(ActionError, match="the int8 model is not within tolerance of the float32 model:\n  output y, sample ") as caught:
        quantise(int8, data)
    assert "allowed at least 0.99" in str(caught.value) and "Calibrate on inputs as the model will meet them" in str(caught.value)


def test_int8_and_then_float16(int8: Conversion, data: Path, tmp_path: Path) -> None:
    half = Conversion(fp16.convert, tmp_path)
    made = half.run(quantise(int8, data))
    assert {value.type.tensor_type.elem_type for value in (*made.graph.input, *made.graph.output)} == {onnx.TensorProto.FLOAT16}
    assert onnx.TensorProto.FLOAT not in {weight.data_type for weight in made.graph.initializer}
    assert half.report["verdict"] == "passed"


@pytest.mark.parametrize(
    ("body", "weights", "message"),
    [
        ("z = Relu(x) y = MatMul(z, h)", {"h": np.ones((4, 2), np.float32)}, None),
        ("y = ReduceMax<keepdims = 1>(x)", {}, "net.onnx has no operator to quantise: none of Conv, Gemm, MatMul that exclude_ops leaves"),
    ],
)
def test_what_can_be_quantised(int8: Conversion, data: Path, body: str, weights: dict[str, np.ndarray], message: str | None) -> None:
    given = model(body, **weights)
    if message is None:
        quantise(int8, data, given)
        return
    given.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    given.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    with pytest.raises(ActionError, match=message):
        quantise(int8, data, given)


def test_a_float16_model_comes_too_late(int8: Conversion, data: Path, tmp_path: Path) -> None:
    half = Conversion(fp16.convert, tmp_path).run(model(NET, **WEIGHTS))
    with pytest.raises(ActionError, match=r"net.onnx has weights of 16 bits: quantise the float32 model"):
        int8.run(half, inputs={"samples/0": data}, calibration={"function": None}, reference=[{"y": np.ones((n, 2))} for n in (1, 3)])
