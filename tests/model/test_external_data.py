from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest

from converted import SAMPLES, Conversion, model
from enginewright.errors import ActionError
from enginewright.model.external_data import read_typed, write
from enginewright.model.reference import Reference, write_reference
from enginewright.model.runtime import outputs_of
from enginewright.rules.fp16 import convert

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


def test_fp16_puts_its_weights_into_a_file_too(written: Path, tmp_path: Path) -> None:
    write_reference(tmp_path / "ref.npz", Reference("float32", SAMPLES, list(outputs_of(written, SAMPLES, "net.onnx"))))
    outputs = {name: tmp_path / f"half{suffix}" for name, suffix in (("onnx", ".onnx"), ("data", ".onnx.data"), ("parity", ".json"))}
    gate = {"tolerance": {"max_abs": None, "max_rel": None, "cosine": 0.999}, "metric": None, "floor": None}
    convert({"model": written, "data": data(written), "reference": tmp_path / "ref.npz"}, outputs, {"exclude_ops": [], "gate": gate})
    assert outputs["data"].stat().st_size == 2 * (400 + 200)
    # The same as from a model in one file.
    plain = Conversion(convert, tmp_path).run(model("z = MatMul(x, w) y = MatMul(z, v)", **WEIGHTS))
    found = read_typed(outputs["onnx"], outputs["data"])
    assert [weight.raw_data for weight in found.graph.initializer] == [weight.raw_data for weight in plain.graph.initializer]
    assert list(found.graph.node) == list(plain.graph.node)
