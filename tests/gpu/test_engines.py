"""Engines for the GPU at hand: built, run against their references, timed. On a machine with a GPU:

    PYTHONPATH=rules ENGINEWRIGHT_GPU_MODELS=FOLDER python -m pytest --noconftest -s tests/gpu

For every NAME.onnx in the folder, NAME.npz has samples and references (arrays in/INPUT and out/OUTPUT, the samples along the first
axis); NAME.json may say {"dims": {"batch": [1, 8, 32]}, "cosine": 0.999, "data": "NAME.onnx.data"}. Each engine is built by
`enginewright.rules.engine`, in a process of its own, with the ``tensorrt`` of the Python that runs this: 3.10 will do. It needs onnx
and numpy. What was measured is printed as a line of JSON for each model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import enginewright
from enginewright.model.checksum import sha256_of
from enginewright.tensorrt import sidecar
from enginewright.tensorrt.cuda import architectures

FOLDER = os.environ.get("ENGINEWRIGHT_GPU_MODELS", "")
MODELS = sorted(Path(FOLDER).resolve().glob("*.onnx")) if FOLDER else []
LACKING = (
    ("there is no GPU", not architectures()),
    ("ENGINEWRIGHT_GPU_MODELS names no folder of ONNX models", not MODELS),
    *((f"{module} is not installed for this Python", find_spec(module) is None) for module in ("tensorrt", "onnx", "numpy")),
)
pytestmark = pytest.mark.skipif(any(here for _, here in LACKING), reason="; ".join(what for what, here in LACKING if here))

RUN = """
import importlib, json, sys
from pathlib import Path
from enginewright.errors import ActionError
run, inputs, outputs, params = json.loads(sys.argv[1])
module, _, function = run.partition(":")
paths = [{name: Path(path) for name, path in given.items()} for given in (inputs, outputs)]
try:
    getattr(importlib.import_module(module), function)(*paths, params)
except ActionError as error:
    sys.exit(f"ActionError: {error}")
"""
SETTINGS: Mapping[str, Any] = {
    "workspace_mib": None, "optimization_level": None, "version_compatible": False, "hardware_compatibility": None,
}  # fmt: skip
BATCHES = (1, 8, 32)


def act(run: str, inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> float:
    """Run what an action runs, in a fresh process as it does, and return the seconds. A failure fails the test."""
    assert enginewright.__file__ is not None
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(enginewright.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    job = [run, *({name: str(path) for name, path in given.items()} for given in (inputs, outputs)), params]
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", RUN, json.dumps(job)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return round(time.monotonic() - began, 2)


def told(model: Path) -> dict[str, Any]:
    """What is said of a model beside it; every dynamic dimension is 1 to 32 where nothing is."""
    import onnx

    from enginewright.model.onnx_facts import shape_of

    beside = model.with_suffix(".json")
    said: dict[str, Any] = json.loads(beside.read_text()) if beside.exists() else {}
    inputs = onnx.load(str(model), load_external_data=False).graph.input
    dims = {dim: [1, 8, 32] for value in inputs for dim in shape_of(value) if isinstance(dim, str)}
    return {"dims": dims, "cosine": 0.999, **said}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.stem)
def test_an_engine_is_built_and_run_and_timed(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said, arch = told(model), architectures()[0]
    outputs = {
        name: tmp_path / f"net{suffix}" for name, suffix in (("engine", ".engine"), ("sidecar", ".json"), ("timing_cache", ".cache"))
    }
    inputs = {"model": model, **({"data": model.with_name(said["data"])} if "data" in said else {})}
    params = {"arch": arch, "backend": "tensorrt", "profiles": [said["dims"]], **SETTINGS}
    measured: dict[str, Any] = {"model": model.stem, "arch": arch}
    measured["build_s"] = act("enginewright.rules.engine:build", inputs, outputs, params)
    previous = tmp_path / "previous.cache"
    outputs["timing_cache"].rename(previous)
    again = {name: path.with_name(f"again{path.suffix}") for name, path in outputs.items()}
    measured["build_with_timing_cache_s"] = act(
        "enginewright.rules.engine:build", {**inputs, "previous/timing_cache": previous}, again, params
    )

    facts = sidecar.read(outputs["sidecar"])
    assert facts["arch"] == arch and facts["device_memory"] > 0 and "timing_cache" not in facts["sources"]
    assert sidecar.damage(outputs["engine"], facts) == ""
    assert sidecar.read(again["sidecar"])["sources"]["timing_cache"] == {"sha256": sha256_of(previous)}
    measured |= {"backend": facts["backend"], "precision": facts["precision"], "device_memory": facts["device_memory"]}

    built = {name: outputs[name] for name in ("engine", "sidecar")}
    report = {"report": tmp_path / "report.json"}
    reference = model.with_suffix(".npz")
    if reference.exists():
        limits = {"cosine": said["cosine"], "max_abs": None}
        act("enginewright.rules.accuracy_test:compare", {**built, "reference": reference}, report, limits)
        measured["accuracy"] = json.loads(report["report"].read_text())["outputs"]
    timing = {"p50_ms": None, "p99_ms": None, "tolerance": 0.1, "warmup": 50, "iterations": 500}
    sizes = (
        [{"batch": batch} for batch in BATCHES if said["dims"]["batch"][0] <= batch <= said["dims"]["batch"][2]]
        if "batch" in said["dims"]
        else [{}]
    )
    for dims in sizes:
        act("enginewright.rules.latency_test:measure", built, report, {**timing, "dims": dims})
        found = json.loads(report["report"].read_text())
        measured.setdefault("latency", []).append({name: found[name] for name in ("shapes", "stream", "graph")})
        measured["gpu"] = found["gpu"]
    with capsys.disabled():
        print("\n" + json.dumps(measured))


def test_an_engine_that_is_damaged_is_not_loaded(tmp_path: Path) -> None:
    said, arch = told(MODELS[0]), architectures()[0]
    outputs = {
        name: tmp_path / f"net{suffix}" for name, suffix in (("engine", ".engine"), ("sidecar", ".json"), ("timing_cache", ".cache"))
    }
    params = {"arch": arch, "backend": "tensorrt", "profiles": [said["dims"]], **SETTINGS}
    inputs = {"model": MODELS[0], **({"data": MODELS[0].with_name(said["data"])} if "data" in said else {})}
    act("enginewright.rules.engine:build", inputs, outputs, params)
    content = bytearray(outputs["engine"].read_bytes())
    content[len(content) // 2] ^= 1
    outputs["engine"].write_bytes(content)
    with pytest.raises(AssertionError, match=r"ActionError: net\.engine is not the engine that its sidecar describes"):
        act(
            "enginewright.rules.latency_test:measure",
            {name: outputs[name] for name in ("engine", "sidecar")},
            {"report": tmp_path / "report.json"},
            {"p50_ms": None, "p99_ms": None, "tolerance": 0.1, "warmup": 0, "iterations": 1, "dims": {}},
        )
