from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from converted import SAMPLES, model
from enginewright.errors import ActionError, DeclarationError
from enginewright.graph.rule import Rule
from enginewright.model.reference import Reference, read_reference, write_reference
from enginewright.model.runtime import outputs_of
from enginewright.rules.onnx_file import onnx_file, take_in

W = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
PARAMS: Mapping[str, Any] = {
    "sha256": None,
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


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"src": "dist://a/b.onnx"}, "sha256: missing: a file that comes from a distribution is pinned"),
        ({"src": "a.onnx", "dims": {"n": (3, 2, 1)}}, "dims"),
        ({"src": "a.onnx", "reference": "r.npz", "samples": "s.npz"}, "samples: the reference has its own samples"),
        ({"src": "a.onnx", "metric": "m.py:f", "floor": 1}, "metric: compares the file with a reference: declare reference too"),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Callable[..., Rule], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        declare(onnx_file, name="onnx", **attributes)
