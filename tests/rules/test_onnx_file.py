from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from converted import SAMPLES, model
from enginewright.errors import ActionError, DeclarationError
from enginewright.graph.rule import Rule
from enginewright.model.external_data import read_typed
from enginewright.model.reference import Reference, read_reference, write_reference
from enginewright.model.runtime import outputs_of
from enginewright.rules.onnx_file import onnx_file, take_in

W = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
PARAMS: Mapping[str, Any] = {
    "sha256": None,
    "data_sha256": None,
    "dims": {"batch": [1, 3, 8]},
    "samples": None,
    "gate": {"tolerance": {"max_abs": None, "max_rel": None, "cosine": 0.9999}, "metric": None, "floor": None},
}


def run(folder: Path, given: onnx.ModelProto, inputs: Mapping[str, Path] | None = None, **params: Any) -> bytes:
    (folder / "src.onnx").write_bytes(given.SerializeToString())
    outputs = {"onnx": folder / "out.onnx", "reference": folder / "out.npz", "parity": folder / "out.json"}
    take_in({"src": folder / "src.onnx", **(inputs or {})}, outputs, {**PARAMS, **params})
    return outputs["onnx"].read_bytes()


def test_without_a_reference_the_file_is_its_own(tmp_path: Path) -> None:
    content = run(tmp_path, model("y = MatMul(x, w)", w=W))
    reference = read_reference(tmp_path / "out.npz")
    assert reference.origin.startswith("ONNX Runtime ") and [len(sample["x"]) for sample in reference.samples] == [1, 3]
    np.testing.assert_allclose(reference.outputs[1]["y"], reference.samples[1]["x"] @ W, rtol=1e-5, atol=1e-6)
    assert onnx.load_from_string(content).graph.node[0].op_type == "MatMul" and not (tmp_path / "out.json").exists()


def test_the_bytes_are_canonical_and_the_pin_is_that_of_the_file(tmp_path: Path) -> None:
    given = model("y = MatMul(x, w)", w=W)
    expected = run(tmp_path, given)
    given.producer_name = "someone"
    pin = hashlib.sha256(given.SerializeToString()).hexdigest()
    assert run(tmp_path, given, sha256=pin) == expected
    with pytest.raises(ActionError, match=r"src\.onnx: its SHA-256 is not the declared one"):
        run(tmp_path, given, sha256="0" * 64)


def test_a_declared_reference_is_compared_with(tmp_path: Path) -> None:
    given = model("y = MatMul(x, w)", w=W)
    outputs = list(outputs_of(given.SerializeToString(), SAMPLES, "it"))
    write_reference(tmp_path / "declared.npz", Reference("TensorFlow", SAMPLES, outputs))
    run(tmp_path, given, {"declared": tmp_path / "declared.npz"})
    assert json.loads((tmp_path / "out.json").read_text())["reference"] == "TensorFlow"
    assert (tmp_path / "out.npz").read_bytes() == (tmp_path / "declared.npz").read_bytes()
    write_reference(tmp_path / "declared.npz", Reference("TensorFlow", SAMPLES, [{"y": -each["y"]} for each in outputs]))
    with pytest.raises(ActionError, match=r"src\.onnx is not within tolerance of TensorFlow:\n  output y, sample 0: cosine -1"):
        run(tmp_path, given, {"declared": tmp_path / "declared.npz"})


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ({}, "dims: dimension 'batch' of src.onnx has no range: add 'batch': (min, opt, max)"),
        ({"batch": [1, 2, 3], "n": [1, 2, 3]}, "dims: 'n' is no dimension of any input of src.onnx (there are: batch)"),
    ],
)
def test_dims_are_those_of_the_file(tmp_path: Path, dims: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ActionError) as caught:
        run(tmp_path, model("y = MatMul(x, w)", w=W), dims=dims)
    assert str(caught.value) == message


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"src.onnx is not a valid ONNX model: "):
        run(tmp_path, model("y = Relu(nowhere)"))


def test_an_input_that_has_no_numbers(tmp_path: Path) -> None:
    made = model("y = Identity(x)")
    made.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.STRING
    made.graph.output[0].type.CopyFrom(made.graph.input[0].type)
    with pytest.raises(ActionError, match=r"^the input x of the model is no tensor of numbers or truth values$"):
        run(tmp_path, made)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A model from elsewhere, whose weights lie beside it."""
    onnx.save_model(
        model("y = MatMul(x, w)", w=W), str(tmp_path / "src.onnx"), save_as_external_data=True, location="src.weights", size_threshold=0
    )
    return tmp_path / "src.onnx"


def test_weights_in_a_file_of_their_own(elsewhere: Path, tmp_path: Path) -> None:
    inputs = {"src": elsewhere, "data": tmp_path / "src.weights"}
    made = {"onnx": tmp_path / "out.onnx", "data": tmp_path / "out.onnx.data", "reference": tmp_path / "out.npz"}
    take_in(inputs, made, PARAMS)
    read = read_typed(made["onnx"], made["data"])
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(read.graph.initializer[0]), W)
    reference = read_reference(made["reference"])
    np.testing.assert_allclose(reference.outputs[0]["y"], reference.samples[0]["x"] @ W, rtol=1e-5, atol=1e-6)
    before = made["onnx"].read_bytes(), made["data"].read_bytes()
    take_in(inputs, made, PARAMS)
    assert before == (made["onnx"].read_bytes(), made["data"].read_bytes())


def test_weights_that_are_not_there_or_others(elsewhere: Path, tmp_path: Path) -> None:
    made = {"onnx": tmp_path / "out.onnx", "data": tmp_path / "out.onnx.data", "reference": tmp_path / "out.npz"}
    with pytest.raises(ActionError, match=r"src\.onnx has its weights in another file, 'src\.weights': declare it as data="):
        take_in({"src": elsewhere}, made, PARAMS)
    inputs = {"src": elsewhere, "data": tmp_path / "src.weights"}
    with pytest.raises(ActionError, match=r"src\.weights: its SHA-256 is not the declared one"):
        take_in(inputs, made, {**PARAMS, "data_sha256": "0" * 64})
    os.truncate(inputs["data"], 31)
    with pytest.raises(ActionError, match=r"src\.weights is truncated, or belongs to another model"):
        take_in(inputs, made, PARAMS)


def test_a_file_with_data_provides_it(declare: Callable[..., Rule]) -> None:
    rule = declare(onnx_file, name="onnx", src="a/b.onnx", data="a/b.data", reference="r.npz")
    assert list(rule.provided()) == ["onnx", "reference", "data", "parity"]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"src": "dist://a/b.onnx"}, "sha256: missing: a file that comes from a distribution is pinned"),
        ({"src": "a.onnx", "data": "dist://a/b.data"}, "data_sha256: missing: a file that comes from a distribution is pinned"),
        ({"src": "a.onnx", "data": "b/a.data"}, "data: 'b/a.data' is not in the folder of 'a.onnx'"),
        ({"src": "a.onnx", "data_sha256": "0" * 64}, "data_sha256: is the pin of data, and there is none"),
        ({"src": "a.onnx", "dims": {"n": (3, 2, 1)}}, "dims"),
        ({"src": "a.onnx", "reference": "r.npz", "samples": "s.npz"}, "samples: the reference has its own samples"),
        ({"src": "a.onnx", "metric": "m.py:f", "floor": 1}, "metric: compares the file with a reference: declare reference too"),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Callable[..., Rule], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        declare(onnx_file, name="onnx", **attributes)
