"""A model of more than 2 GiB, from its checkpoint to each precision, and to an engine.

Slow, with 18 GB of disk and 12 GB of memory: ``pytest -m slow``.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from enginewright.tensorrt import sidecar
from throwaway import Workspace

LAYERS, WIDTH = 5, 11264  # 5 * 11264 ** 2 * 4 bytes are 2.54 GB

NET = f"""
import torch

def build():
    return torch.nn.Sequential(*(torch.nn.Linear({WIDTH}, {WIDTH}) for _ in range({LAYERS})))
"""
WEIGHTS = f"""
def make(inputs, outputs, params):
    import torch
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(0)
    tensors = {{}}
    for i in range({LAYERS}):
        tensors[f"{{i}}.weight"] = torch.randn({WIDTH}, {WIDTH}, generator=draw) / {WIDTH} ** 0.5
        tensors[f"{{i}}.bias"] = torch.full(({WIDTH},), 0.1)
    save_file(tensors, outputs["checkpoint"])

def samples():
    import numpy as np
    for seed in range(4):
        yield np.random.default_rng(seed).standard_normal((2, {WIDTH}), np.float32)
"""
BUILD = f"""
from enginewright import bf16, fp16, int8, onnx_model, python_action, tensor, tensorrt_engine

python_action(
    name="weights", function="weights.py:make", outputs={{"checkpoint": "large.safetensors"}}, packages=["torch", "safetensors", "numpy"],
)
onnx_model(
    name="onnx", checkpoint=":weights", inputs={{"x": tensor("float32", ("batch", {WIDTH}))}}, outputs=["y"], dims={{"batch": (1, 2, 4)}},
    external_data=True,
)
fp16(name="half", model=":onnx")
bf16(name="brain", model=":onnx")
int8(name="eight", model=":onnx", calibration="weights.py:samples")
tensorrt_engine(name="engine", model=":half", archs=["A100"])
"""


@pytest.mark.slow
def test_from_checkpoint_to_engine(empty: Workspace) -> None:
    empty.write({"models/large/net.py": NET, "models/large/weights.py": WEIGHTS, "models/large/BUILD.py": BUILD})
    with empty.start("build") as build:
        peak = 0
        while build.poll() is None:
            # Not by wait4(): that has the processes of its actions in it.
            status = Path(f"/proc/{build.pid}/status").read_text()
            peak = max([peak, *(int(kib) for kib in re.findall(r"VmHWM:\s+(\d+) kB", status))])
            time.sleep(0.1)
        assert build.returncode == 0, build.communicate()
    assert 0 < peak < 300 * 1024
    folder = empty.root / "build/models/large"
    for name, size in (("onnx", 4), ("half", 2), ("brain", 2), ("eight", 1)):
        assert (folder / f"{name}.onnx").stat().st_size < 2**20
        assert (folder / f"{name}.onnx.data").stat().st_size > LAYERS * WIDTH**2 * size
        assert json.loads((folder / f"{name}.parity.json").read_text())["verdict"] == "passed"
    facts = sidecar.read(folder / "engine_sm_80.json")
    assert sidecar.damage(folder / "engine_sm_80.engine", facts) == "" and facts["engine"]["size"] > LAYERS * WIDTH**2 * 2
