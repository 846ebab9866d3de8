"""The parity gate on the example models: what it passes, and that it stops what must not pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from throwaway import Workspace

FIGURES = {"sample", "shape", "max_abs", "max_rel", "cosine"}

# What each model loses, at most: cosine. Exports and fp16 lose next to nothing.
LEAST = {
    "efficientnet_lite0/onnx": 0.999999, "efficientnet_lite0/onnx_fp16": 0.9999, "efficientnet_lite0/onnx_bf16": 0.9995,
    "efficientnet_lite0/onnx_int8": 0.994,
    "minilm/onnx": 0.999999, "minilm/onnx_fp16": 0.9999, "minilm/onnx_bf16": 0.9995,
    "torchcrepe/onnx": 0.999999, "torchcrepe/onnx_fp16": 0.9999, "torchcrepe/onnx_bf16": 0.9995, "torchcrepe/onnx_int8": 0.999,
}  # fmt: skip


@pytest.mark.parametrize("name", LEAST)
def test_every_model_of_the_examples_has_a_report(built: Path, name: str) -> None:
    report = json.loads((built / f"build/models/{name}.parity.json").read_text())
    assert report["verdict"] == "passed" and report["reference"].startswith("PyTorch ")
    measured = [each for samples in report["outputs"].values() for each in samples]
    assert measured and all(each.keys() == FIGURES for each in measured)
    assert min(each["cosine"] for each in measured) >= LEAST[name]


def test_crepe_in_float16_is_stopped_unless_its_normalisation_stays_in_float32(checkout: Workspace, built: Path) -> None:
    # Batch normalisation divides by variances of up to 5e5, and float16 ends at 65504.
    report = json.loads((built / "build/models/torchcrepe/onnx_fp16.parity.json").read_text())
    assert report["verdict"] == "passed" and report["metric"] == {"function": "same_pitch", "value": 1.0, "floor": 1.0}
    naive = "models/torchcrepe:naive"
    build_file = checkout.root / "models/torchcrepe/BUILD.py"
    declared = build_file.read_text()
    build_file.write_text(declared + '\nfp16(name="naive", model=":onnx")\n')
    try:
        stopped = checkout.build(naive, code=1)
    finally:
        build_file.write_text(declared)
    assert stopped.ran == stopped.failed == {naive}
    reason = stopped.actions[naive]["reason"]
    assert reason.startswith("the float16 model is not within tolerance of PyTorch ")
    assert "\n  output pitch, sample " in reason and "allowed at least 0.999\n" in reason
    assert 'exclude_ops=["BatchNormalization"]' in reason
    assert not (built / "build/models/torchcrepe/naive.onnx").exists()
