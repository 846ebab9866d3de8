from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import numpy_helper
from onnx.parser import parse_model

from converted import SAMPLES, Conversion, model
from enginewright.errors import ActionError
from enginewright.model.external_data import read_typed, read_with_data, write
from enginewright.model.onnx_facts import describe
from enginewright.model.reference import Reference, write_reference
from enginewright.model.runtime import outputs_of
from enginewright.rules import bf16, fp16, int8

WEIGHTS = {"w": np.linspace(-1, 1, 400, dtype=np.float32).reshape(4, 100), "v": np.ones((100, 2), np.float32)}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """net.onnx, with its weights in net.onnx.data."""
    write(onnx_ir.from_proto(model("z = MatMul(x, w) y = MatMul(z, v)", **WEIGHTS)), tmp_path / "net.onnx", tmp_path / "net.onnx.data")
    return tmp_path / "net.onnx"


def data(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def test_what_is_written_is_read_again_also_from_files_with_two_names(written: Path, tmp_path: Path) -> None:
    assert data(written).stat().st_size == 4 * (400 + 200) and written.stat().st_size < 400
    os.link(data(written), tmp_path / "blob")
    (tmp_path / "sandbox").mkdir()
    for path in (written, data(written)):
        (tmp_path / "sandbox" / path.name).symlink_to(path)
    found = read_typed(tmp_path / "sandbox/net.onnx", tmp_path / "sandbox/net.onnx.data")
    for weight in found.graph.initializer:
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(weight), WEIGHTS[weight.name])
    assert [value.name for value in found.graph.value_info] == ["z"]


def test_a_missing_byte_is_noticed(written: Path) -> None:
    os.truncate(data(written), data(written).stat().st_size - 1)
    with pytest.raises(
        ActionError, match=r"net.onnx.data is truncated, or belongs to another model: net.onnx expects 800 bytes of v from 1600 on"
    ):
        read_typed(written, data(written))


def test_data_of_another_name(written: Path) -> None:
    data(written).rename(written.with_name("other.data"))
    with pytest.raises(ActionError, match=r"the weight w lies in 'net.onnx.data', expected 'other.data'"):
        read_typed(written, written.with_name("other.data"))


def test_an_invalid_model(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"net\.onnx is not a valid ONNX model"):
        write(onnx_ir.from_proto(model("y = MatMul(w, x)", **WEIGHTS)), tmp_path / "net.onnx", tmp_path / "net.onnx.data")


@pytest.mark.parametrize("rule", [fp16, bf16, int8], ids=["fp16", "bf16", "int8"])
def test_a_conversion_puts_its_weights_into_a_file_too(written: Path, tmp_path: Path, rule: ModuleType) -> None:
    np.save(tmp_path / "calibration.npy", np.random.default_rng(7).standard_normal((32, 4), np.float32))
    inputs = {"samples/0": tmp_path / "calibration.npy"} if rule is int8 else {}
    params: dict[str, Any] = {"calibration": {"function": None}} if rule is int8 else {}
    write_reference(tmp_path / "ref.npz", Reference("float32", SAMPLES, list(outputs_of(written, SAMPLES, "net.onnx"))))
    outputs = {name: tmp_path / f"less{suffix}" for name, suffix in (("onnx", ".onnx"), ("data", ".onnx.data"), ("parity", ".json"))}
    gate = {"tolerance": {"max_abs": None, "max_rel": None, "cosine": 0.99}, "metric": None, "floor": None}
    os.link(data(written), tmp_path / "blob")  # as inputs are: see the test of what is written
    given = {"model": written, "data": data(written), "reference": tmp_path / "ref.npz", **inputs}
    rule.convert(given, outputs, {"exclude_ops": [], "gate": gate, **params})
    assert outputs["data"].stat().st_size >= 600 * (1 if rule is int8 else 2) and outputs["onnx"].stat().st_size < 3000
    # The same as from a model in one file.
    plain = Conversion(rule.convert, tmp_path).run(model("z = MatMul(x, w) y = MatMul(z, v)", **WEIGHTS), inputs=inputs, **params)
    found = read_typed(outputs["onnx"], outputs["data"])
    for one, other in zip(found.graph.initializer, plain.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))
    ours, theirs = ([(node.op_type, node.input, node.output, node.attribute) for node in each.graph.node] for each in (found, plain))
    assert ours == theirs


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A model with its weights beside it."""
    made = parse_model('<ir_version: 10, opset_import: ["" : 20]> net (float[batch, 4] x) => (float[batch, 2] y) { y = MatMul(x, w) }')
    made.graph.initializer.append(numpy_helper.from_array(np.ones((4, 2), np.float32), "w"))
    path = tmp_path / "net.onnx"
    onnx.save_model(made, str(path), save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    return path


def problem(model: Path) -> str:
    with pytest.raises(ActionError) as caught:
        read_with_data(model, model.with_name("net.onnx.data"))
    return str(caught.value)


def edit(model: Path, **entries: str) -> None:
    """Change what the model says of where its weight is."""
    made = onnx.load(str(model), load_external_data=False)
    known = {entry.key: entry.value for entry in made.graph.initializer[0].external_data}
    del made.graph.initializer[0].external_data[:]
    for key, value in {**known, **entries}.items():
        made.graph.initializer[0].external_data.add(key=key, value=value)
    model.write_bytes(made.SerializeToString())


def test_the_weights_stay_where_they_are(stored: Path) -> None:
    read = read_with_data(stored, stored.with_name("net.onnx.data"))
    assert read.graph.initializer[0].raw_data == b""
    facts = describe(read)
    assert facts["parameters"] == 8 and facts["weight_bytes"] == {"float32": 32} and facts["precision"] == "float32"


def test_a_link_to_the_data_will_do(stored: Path) -> None:
    data = stored.with_name("net.onnx.data")
    data.rename(stored.with_name("blob"))
    data.symlink_to("blob")
    assert read_with_data(stored, data)


def test_a_missing_byte(stored: Path) -> None:
    data = stored.with_name("net.onnx.data")
    data.write_bytes(data.read_bytes()[:-1])
    assert problem(stored) == (
        "net.onnx.data is truncated, or belongs to another model: net.onnx expects 32 bytes of w from 0 on, and it has 31 in all. "
        "Build it again"
    )


@pytest.mark.parametrize("entries", [{"offset": "-4"}, {"offset": "x"}, {"length": "9" * 14}])
def test_a_place_that_makes_no_sense(stored: Path, entries: dict[str, str]) -> None:
    edit(stored, **entries)
    assert problem(stored).startswith("net.onnx is not a valid ONNX model: where the weight w lies makes no sense: {")


def test_weights_of_which_two_are_in_a_byte(stored: Path) -> None:
    made = onnx.load(str(stored), load_external_data=False)
    made.graph.initializer[0].data_type = onnx.TensorProto.INT4
    made.graph.initializer[0].dims[:] = [3, 3]
    stored.write_bytes(made.SerializeToString())
    stored.with_name("net.onnx.data").write_bytes(bytes(5))
    edit(stored, length="5")
    assert read_with_data(stored, stored.with_name("net.onnx.data"))


def test_a_flipped_byte_where_the_model_has_a_checksum(stored: Path) -> None:
    data = stored.with_name("net.onnx.data")
    edit(stored, checksum=hashlib.sha1(data.read_bytes()).hexdigest().upper())
    assert read_with_data(stored, data)
    data.write_bytes(b"\1" + data.read_bytes()[1:])
    assert problem(stored) == "net.onnx.data is not what net.onnx was written with: its SHA-1 is another. Build it again"


def test_data_under_another_name(stored: Path) -> None:
    edit(stored, location="other.data")
    assert problem(stored) == "net.onnx: the weight w lies in 'other.data', expected 'net.onnx.data'"


def test_a_truncated_model(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes()[:-9])
    assert problem(stored).startswith("net.onnx is not an ONNX model, or a truncated one")
