"""Tensors, ONNX models and engines compared."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from enginewright.compare.artifacts import Means, compare_outputs
from enginewright.compare.engines import compare_engines
from enginewright.compare.models import compare_onnx
from enginewright.compare.tensors import compare_npz, compare_safetensors
from enginewright.compare.verdict import NONE, NUMERICAL, Finding
from enginewright.model.tolerance import Tolerance

TENSORS: Mapping[str, NDArray[np.float32]] = {"bias": np.zeros(4, np.float32), "weight": np.arange(12, dtype=np.float32).reshape(3, 4)}
ALLOWED = Tolerance(cosine=0.999)
SAMPLES = [{"x": np.ones((2, 4), np.float32)}]


def safetensors(path: Path, tensors: Mapping[str, NDArray[np.float32]], **metadata: str) -> Path:
    from safetensors.numpy import save_file

    save_file(dict(tensors), path, metadata or None)
    return path


def test_safetensors_by_tensor(tmp_path: Path) -> None:
    first = safetensors(tmp_path / "a.safetensors", TENSORS)
    nudged = {**TENSORS, "weight": TENSORS["weight"] + np.float32(1e-5)}
    found = compare_safetensors(first, safetensors(tmp_path / "b.safetensors", nudged))
    assert (found.reproducible, found.basis) == (NUMERICAL, "tensors are within max rel 0.001, cosine 0.9999")
    ((where, what),) = found.findings
    assert where == "tensor weight" and what.endswith("of 12 elements differ, by at most 1e-05")

    other = {"weight": TENSORS["weight"].T.copy(), "scale": TENSORS["bias"]}
    found = compare_safetensors(first, safetensors(tmp_path / "c.safetensors", other))
    assert found.reproducible == NONE
    assert found.findings == (
        Finding("tensor bias", "is only in the first"),
        Finding("tensor scale", "is only in the second"),
        Finding("tensor weight", "float32[3, 4] -> float32[4, 3]"),
    )
    found = compare_safetensors(first, safetensors(tmp_path / "d.safetensors", TENSORS, by="hand"))
    assert (found.reproducible, found.basis) == (NUMERICAL, "all tensors are the same; the file is written otherwise")


def test_bfloat16_tensors(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    for name, value in (("a", 1.0), ("b", 1.0078125)):  # one bit of the eight that a bfloat16 has
        save_file({"w": torch.full((4,), value, dtype=torch.bfloat16)}, tmp_path / f"{name}.safetensors")
    found = compare_safetensors(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert found.reproducible == NONE
    assert found.findings == (Finding("tensor w", "4 of 4 elements differ, by at most 0.00781"),)


def test_npz_by_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"0/in/x": np.ones(3), "origin": np.array("PyTorch 1")})
    np.savez(tmp_path / "b.npz", **{"0/in/x": np.full(3, 2.0), "origin": np.array("PyTorch 2")})
    found = compare_npz(tmp_path / "a.npz", tmp_path / "b.npz")
    assert found.reproducible == NONE
    assert found.findings == (
        Finding("tensor 0/in/x", "3 of 3 elements differ, by at most 1"),
        Finding("tensor origin", "PyTorch 1 -> PyTorch 2"),
    )


def test_what_is_not_what_it_should_be_is_compared_as_bytes(tmp_path: Path) -> None:
    for suffix in (".safetensors", ".npz", ".onnx", ".tar", ".engine", ".json"):
        (tmp_path / f"a{suffix}").write_bytes(b"nothing of the kind")
        (tmp_path / f"b{suffix}").write_bytes(b"nothing of this kind")
        found = compare_outputs({"out": tmp_path / f"a{suffix}"}, {"out": tmp_path / f"b{suffix}"}, Means())["out"]
        assert found.reproducible == NONE
        assert [each.where for each in found.findings] == ["size", "byte 13"], suffix


def network(path: Path, weight: NDArray[np.float32], op: str = "Relu", producer: str = "test") -> Path:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name="product"), helper.make_node(op, ["h"], ["y"], name="last")]
    tensors = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in (("x", ["n", 4]), ("y", ["n", 3]))]
    graph = helper.make_graph(nodes, "net", tensors[:1], tensors[1:], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10, producer_name=producer)
    path.write_bytes(model.SerializeToString())
    return path


WEIGHT = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def test_onnx_models_that_compute_the_same(tmp_path: Path) -> None:
    first, second = network(tmp_path / "a.onnx", WEIGHT), network(tmp_path / "b.onnx", WEIGHT + np.float32(1e-6))
    found = compare_onnx(first, second, SAMPLES, ALLOWED)
    assert (found.reproducible, found.basis) == (NUMERICAL, "both give the same for 1 samples, within tolerance")
    assert [each.where for each in found.findings] == ["tensor w"]
    assert compare_onnx(first, second, [], ALLOWED).basis == "there are no samples to run both on"


def test_onnx_models_that_do_not(tmp_path: Path) -> None:
    first = network(tmp_path / "a.onnx", WEIGHT)
    found = compare_onnx(first, network(tmp_path / "b.onnx", -WEIGHT, "Neg", "other"), SAMPLES, Tolerance(cosine=0.999, max_abs=0.1))
    assert found.reproducible == NONE
    assert [each.where for each in found.findings] == ["producer_name", "node 1", "tensor w", "output y, sample 0", "output y, sample 0"]
    assert found.findings[1].what == "Relu last -> Neg last"
    assert found.findings[3].what.startswith("max abs 0.727, allowed at most 0.1")


def engine(path: Path, plan: bytes = b"p" * 300, weights: bytes = b"w" * 640, mask: int = 2, sha: str = "0") -> dict[str, Path]:
    """An engine of TensorRT-RTX, as far as its header tells, and a sidecar."""
    length = 64 + len(plan) + len(weights)
    start = struct.pack("<4s12xQ4B4sQ16xQ", b"vtrt", length, 1, 7, 1, 116, b"vtrt", mask, len(weights))
    path.with_suffix(".engine").write_bytes(start.ljust(64, b"\0") + plan + weights)
    path.with_suffix(".json").write_text(json.dumps({"engine": {"sha256": sha, "size": length}, "arch": "sm_80", "io": []}))
    return {"engine": path.with_suffix(".engine"), "sidecar": path.with_suffix(".json")}


def test_engines_by_section_without_a_gpu(tmp_path: Path) -> None:
    first = engine(tmp_path / "a")
    found = compare_outputs(first, engine(tmp_path / "b", plan=b"q" * 3 + b"p" * 297, sha="1"), Means())
    assert {name: each.reproducible for name, each in found.items()} == {"engine": NUMERICAL, "sidecar": NUMERICAL}
    assert found["engine"].basis == "structure and weights are the same; not run, as there is no GPU for it here"
    assert found["engine"].findings == (Finding("plan: byte 64", "the first of 3 that differ"),)
    assert found["sidecar"].basis == "what differs follows from the other outputs"

    longer = compare_outputs(first, engine(tmp_path / "c", plan=b"p" * 310), Means())["engine"]
    assert (longer.reproducible, longer.findings) == (NUMERICAL, (Finding("header, length", "1004 -> 1014"),))


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"weights": b"w" * 639 + b"v"}, "weights: byte 1003"),
        ({"mask": 4}, "header, archs"),
        ({"plan": b"", "weights": b"v" * 640}, "weights"),
    ],
)
def test_engines_that_are_not_the_same(tmp_path: Path, changed: dict[str, bytes], where: str) -> None:
    found = compare_outputs(engine(tmp_path / "a"), engine(tmp_path / "b", **changed), Means())["engine"]  # type: ignore[arg-type]
    assert found.reproducible == NONE
    assert where in [each.where for each in found.findings]


def test_engines_of_tensorrt_say_nothing_without_a_gpu(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.engine").write_bytes(f"plan {name}".encode())
    found = compare_engines((tmp_path / "a.engine", None), (tmp_path / "b.engine", None), (), ALLOWED, ())
    assert (found.reproducible, found.basis) == (NONE, "there is no GPU here to run them on")
