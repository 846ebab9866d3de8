from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.parser import parse_model

from enginewright.errors import ActionError
from enginewright.model.external_data import read_with_data
from enginewright.model.onnx_facts import describe


@pytest.fixture
def model(tmp_path: Path) -> Path:
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


def test_the_weights_stay_where_they_are(model: Path) -> None:
    read = read_with_data(model, model.with_name("net.onnx.data"))
    assert read.graph.initializer[0].raw_data == b""
    facts = describe(read)
    assert facts["parameters"] == 8 and facts["weight_bytes"] == {"float32": 32} and facts["precision"] == "float32"


def test_a_link_to_the_data_will_do(model: Path) -> None:
    data = model.with_name("net.onnx.data")
    data.rename(model.with_name("blob"))
    data.symlink_to("blob")
    assert read_with_data(model, data)


def test_a_missing_byte(model: Path) -> None:
    data = model.with_name("net.onnx.data")
    data.write_bytes(data.read_bytes()[:-1])
    assert problem(model) == "net.onnx.data is cut off: net.onnx has the weight w up to byte 32 of it, and it has 31. Build it again"


def test_a_flipped_byte_where_the_model_has_a_checksum(model: Path) -> None:
    data = model.with_name("net.onnx.data")
    edit(model, checksum=hashlib.sha1(data.read_bytes()).hexdigest().upper())
    assert read_with_data(model, data)
    data.write_bytes(b"\1" + data.read_bytes()[1:])
    assert problem(model) == "net.onnx.data is not what net.onnx was written with: its SHA-1 is another. Build it again"


def test_data_under_another_name(model: Path) -> None:
    edit(model, location="other.data")
    assert problem(model) == "net.onnx has its weight w in 'other.data', and there is only net.onnx.data"


def test_a_truncated_model(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-9])
    assert problem(model).startswith("net.onnx is not an ONNX model, or a truncated one")
