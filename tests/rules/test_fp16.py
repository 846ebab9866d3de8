from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnx.parser import parse_model
from safetensors.torch import save_file

from enginewright.errors import ActionError, DeclarationError
from enginewright.graph.action import Action
from enginewright.graph.rule import Rule
from enginewright.model.onnx_format import canonical_bytes
from enginewright.rules.fp16 import convert, fp16

WEIGHT = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)


def model(body: str) -> onnx.ModelProto:
    """A model with input x (batch, 4), output y (batch, 2), and the weight w (4, 2)."""
    parsed = parse_model(f'<ir_version: 10, opset_import: ["" : 20]> net (float[batch, 4] x) => (float[batch, 2] y) {{ {body} }}')
    parsed.graph.initializer.append(numpy_helper.from_array(WEIGHT, "w"))
    return parsed


PRODUCT = "z = MatMul(x, w) y = Relu(z)"
CLAMPED = "z = MatMul(x, w) low = Constant<value_float = 0.5>() y = Max(z, low)"


def run(tmp_path: Path, given: onnx.ModelProto, exclude_ops: tuple[str, ...] = ()) -> onnx.ModelProto:
    (tmp_path / "net.onnx").write_bytes(given.SerializeToString())
    convert({"model": tmp_path / "net.onnx"}, {"onnx": tmp_path / "out.onnx"}, {"exclude_ops": exclude_ops, "gate": None})
    return onnx.load(tmp_path / "out.onnx")


def refusal(tmp_path: Path, src: Path, exclude_ops: tuple[str, ...] = ()) -> str:
    with pytest.raises(ActionError) as caught:
        convert({"model": src}, {"onnx": tmp_path / "out.onnx"}, {"exclude_ops": exclude_ops, "gate": None})
    assert not (tmp_path / "out.onnx").exists()
    return str(caught.value)


def test_a_declaration_becomes_an_action(declare: Callable[..., Rule], action_of: Callable[[Rule], Action]) -> None:
    action = action_of(declare(fp16, name="half", model=":onnx", exclude_ops=["Max", "Clip"]))
    assert action.outputs["onnx"].path == "build/models/x/half.onnx"
    assert action.params["exclude_ops"] == ("Clip", "Max")
    assert action.params["gate"]["tolerance"] == {"max_abs": None, "max_rel": None, "cosine": 0.999}  # type: ignore[index, call-overload]


def test_a_wrong_declaration_is_refused(declare: Callable[..., Rule]) -> None:
    with pytest.raises(DeclarationError, match="exclude_ops: expected a list, each item a string, got 'Clip'"):
        declare(fp16, name="half", model=":onnx", exclude_ops="Clip")


def test_everything_is_float16_and_close(tmp_path: Path) -> None:
    half = run(tmp_path, model(PRODUCT))
    assert [value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)] == [TensorProto.FLOAT16] * 2
    assert half.graph.initializer[0].data_type == TensorProto.FLOAT16
    x = np.random.default_rng(0).random((3, 4), np.float32)
    (y,) = onnxruntime.InferenceSession(half.SerializeToString()).run(None, {"x": x.astype(np.float16)})
    np.testing.assert_allclose(y, np.maximum(x @ WEIGHT, 0), atol=2e-3)


def test_excluded_operators_stay_float32_and_the_graph_stays_sorted(tmp_path: Path) -> None:
    half = run(tmp_path, model(PRODUCT), ("Relu",))
    assert Counter(node.op_type for node in half.graph.node) == {"MatMul": 1, "Cast": 2, "Relu": 1}
    onnx.checker.check_model(half, full_check=True)
    # Max is among the operators that are never converted.
    assert "Cast" in {node.op_type for node in run(tmp_path, model(CLAMPED)).graph.node}


def test_the_bytes_are_canonical(tmp_path: Path) -> None:
    run(tmp_path, model(PRODUCT))
    expected = (tmp_path / "out.onnx").read_bytes()
    noted = model(PRODUCT)
    noted.producer_name, noted.doc_string, noted.graph.doc_string = "pytorch", "a note", "another"
    noted.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="net.py:7")
    noted.graph.input[0].metadata_props.add(key="note", value="1")
    run(tmp_path, noted)
    assert (tmp_path / "out.onnx").read_bytes() == expected


def test_canonical_bytes_keep_the_domain_of_an_operator() -> None:
    given = model(PRODUCT)
    given.domain, given.graph.node[1].domain = "org.example", "com.microsoft"
    given.graph.value_info.append(onnx.helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 2]))
    kept = onnx.load_from_string(canonical_bytes(given))
    assert (kept.domain, kept.graph.node[1].domain, len(kept.graph.value_info)) == ("", "com.microsoft", 0)


def test_canonical_bytes_reach_subgraphs() -> None:
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["w"], ["v"], doc_string="inner")], "then", [],
        [onnx.helper.make_tensor_value_info("v", TensorProto.FLOAT, [4, 2])], doc_string="inner",
    )  # fmt: skip
    given = model(PRODUCT)
    given.graph.node.append(onnx.helper.make_node("If", ["c"], ["u"], then_branch=body, else_branch=body))
    assert b"inner" not in canonical_bytes(given)


def test_an_operator_that_the_model_lacks(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(model(PRODUCT).SerializeToString())
    message = refusal(tmp_path, tmp_path / "net.onnx", ("Matmul",))
    assert message == "exclude_ops: no operator of net.onnx has the type 'Matmul' (did you mean 'MatMul'?), and none that name"


def pth(path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, path)


def legacy_pth(path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)


def safetensors(path: Path) -> None:
    save_file({"w": torch.zeros(2)}, path)


def truncated(path: Path) -> None:
    path.write_bytes(model(PRODUCT).SerializeToString()[:-9])


def invalid(path: Path) -> None:
    path.write_bytes(model("y = Relu(nowhere)").SerializeToString())


def wrong_shape(path: Path) -> None:
    path.write_bytes(model("y = MatMul(w, x)").SerializeToString())


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (pth, "net.onnx is a PyTorch checkpoint (or another zip archive), not an ONNX model. Export it first: onnx_model("),
        (legacy_pth, "net.onnx is a pickle, as torch.save wrote before torch 1.6, not an ONNX model. Export it first: onnx_model("),
        (safetensors, "net.onnx is a safetensors file, not an ONNX model. Export it first: onnx_model("),
        (lambda path: path.write_bytes(b""), "net.onnx is empty, not an ONNX model"),
        (lambda path: path.write_text("This is no model.\n"), "net.onnx is not an ONNX model"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "net.onnx is not an ONNX model"),
        (truncated, "net.onnx is not an ONNX model, or a truncated one: it does not parse"),
        (invalid, "net.onnx is not a valid ONNX model: Nodes in a graph must be topologically sorted, however input 'nowhere'"),
        (wrong_shape, "net.onnx is not a valid ONNX model: "),
    ],
)
def test_what_is_no_onnx_model(tmp_path: Path, write: Callable[[Path], Any], message: str) -> None:
    write(tmp_path / "net.onnx")
    assert refusal(tmp_path, tmp_path / "net.onnx").startswith(message)
