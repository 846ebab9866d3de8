"""Builds, runs and times engines on an H100, and writes what came out as JSON:

    python tests/gpu/h100/measure.py FOLDER --json FILE [--torch PYTHON] [--only STEP ...]

FOLDER is what prepare.py made. The Python that runs this has Enginewright and TensorRT 8.5, and so is CPython 3.10; PYTHON has
torch, and what the networks import. Each step stands by itself: one that fails is noted, and the others go on.

``engines``: each engine by `doit build`, compared with its reference by its accuracy_test(), timed by its latency_test().
``direct``: the same engine by the same calls to TensorRT (direct.py). ``tuned``: the weights are changed, and the engines built
again, from the kept timing cache and, forgotten before, without. ``torch``: the same networks in PyTorch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOIT = Path(sys.executable).with_name("doit")
MODELS = ("efficientnet_lite0", "minilm")
PRECISIONS = ("fp32", "fp16", "int8")
BATCHES = (1, 8, 32)
FLAGS = {"fp32": [], "fp16": ["FP16"], "int8": ["INT8"]}


class Measurements:
    """What was measured, on disk after each addition."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def add(self, *keys: str, value: Any) -> None:
        """Put a value below these keys, and say so."""
        place = self.found
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
        self._path.write_text(json.dumps(self.found, indent=1) + "\n")
        print(time.strftime("%H:%M:%S"), " ".join(keys), json.dumps(value)[:600], flush=True)


def build(folder: Path, *labels: str) -> dict[str, Any]:
    """What `doit build` says of these targets, with the seconds of the whole command. It must succeed."""
    began = time.monotonic()
    done = subprocess.run([DOIT, "build", "--json", *labels], cwd=folder, text=True, capture_output=True)
    seconds = time.monotonic() - began
    if done.returncode:
        logs = [path.read_text(errors="replace")[-1500:] for label in labels if (path := log_of(folder, label)).exists()]
        raise RuntimeError("\n".join([done.stderr[-3000:], *logs]))
    return {**json.loads(done.stdout), "seconds": round(seconds, 2)}


def log_of(folder: Path, label: str) -> Path:
    """Where what an action printed is."""
    return folder / "build/.enginewright/logs" / f"{label.replace(':', '/')}.log"


def engine(folder: Path, label: str) -> dict[str, Any]:
    """The seconds of an engine's build: of the whole command, of the action, and of TensorRT in it; whether it had a timing cache."""
    report = build(folder, label)
    action = next(each for each in report["actions"] if each["label"] == label)
    assert action["status"] == "built", action
    inside = re.search(r"TensorRT .* took ([\d.]+) s", log_of(folder, label).read_text())
    model, name = label.split(":")
    kept = "timing_cache" in read(folder / f"build/{model}/{name}.json")["sources"]
    return {
        "command_s": report["seconds"], "action_s": action["seconds"], "tensorrt_s": float(inside[1]) if inside else None,
        "from_timing_cache": kept,
    }  # fmt: skip


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def direct(folder: Path, model: str, precision: str, cache: Path) -> dict[str, float]:
    """The same engine without Enginewright, in a process of its own, with its seconds."""
    onnx_file = folder / f"build/{model}/{precision}.onnx"
    facts = read(folder / f"build/{model}/{precision}_engine_sm_90.json")
    options = json.dumps({"flags": FLAGS[precision], "profile": facts["profiles"][0]})
    command = [sys.executable, HERE / "direct.py", onnx_file, folder / "direct.engine", cache, options]
    began = time.monotonic()
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-2000:])
    return {"command_s": round(time.monotonic() - began, 2), **json.loads(done.stdout.splitlines()[-1])}


def engines(folder: Path, into: Measurements, model: str, precision: str) -> None:
    """An engine by its targets: built, compared, timed, inspected."""
    name, keys = f"{model}:{precision}", ("engines", model, precision)
    build(folder, name)  # which needs no GPU
    into.add(*keys, "build", value=engine(folder, f"{name}_engine_sm_90"))
    build(folder, f"{name}_accuracy", *(f"{name}_latency_{batch}" for batch in BATCHES))
    into.add(*keys, "accuracy", value=read(folder / f"build/{model}/{precision}_accuracy.json")["outputs"])
    for batch in BATCHES:
        report = read(folder / f"build/{model}/{precision}_latency_{batch}.json")
        into.add(*keys, "latency", str(batch), value={way: report[way] for way in ("shapes", "stream", "graph")})
    facts = read(folder / f"build/{model}/{precision}_engine_sm_90.json")
    into.add(*keys, "sidecar", value={each: facts[each] for each in ("precision", "device_memory", "engine", "backend")})
    command = [DOIT, "inspect", f"{name}_engine_sm_90"]
    said = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=True).stdout.splitlines()
    layers = sum("  layer" in line for line in said)
    into.add(*keys, "inspect", value=[*[line for line in said if "  layer" not in line], f"{layers} layers"])


def directly(folder: Path, into: Measurements, model: str, precision: str) -> None:
    """The same engine without Enginewright, first without a timing cache and then from that of the first."""
    cache = folder / f"{model}_{precision}.cache"
    cache.unlink(missing_ok=True)
    for name in ("direct", "direct_cached"):
        into.add("engines", model, precision, name, value=direct(folder, model, precision, cache))


def tuned(folder: Path, into: Measurements, model: str, precision: str) -> None:
    """An engine of other weights, from the kept timing cache and, forgotten before, without."""
    label = f"{model}:{precision}_engine_sm_90"
    build(folder, f"{model}:{precision}")
    into.add("tuned", model, precision, "kept", value=engine(folder, label))
    subprocess.run([DOIT, "forget", label], cwd=folder, check=True, capture_output=True)
    into.add("tuned", model, precision, "without", value=engine(folder, label))


def change_weights(path: Path) -> None:
    """Every float weight of a model moves by a ten-thousandth of itself."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    draw, changed = np.random.default_rng(), onnx.load(path)
    for weight in changed.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size > 1:
            values = values * (1 + 1e-4 * draw.standard_normal(values.shape)).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(changed, path)


def attempt(into: Measurements, what: str, step: Callable[[], None]) -> None:
    """Do something, and go on when it fails."""
    try:
        step()
    except Exception:
        traceback.print_exc()
        into.add("failures", what, value=traceback.format_exc()[-3000:])


def conditions() -> Mapping[str, Any]:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    import tensorrt

    return {
        "date": time.strftime("%Y-%m-%d"),
        "gpu": subprocess.run(query, text=True, capture_output=True).stdout.strip(),
        "processors": os.cpu_count(),
        "python": sys.version.split()[0],
        "tensorrt": tensorrt.__version__,
    }


def main() -> None:
    """Measure and write, step by step."""
    parser = argparse.ArgumentParser(description="Builds, runs and times engines on an H100.")
    parser.add_argument("folder", type=Path, help="what prepare.py made")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where what is measured goes; added to if it is there")
    parser.add_argument("--torch", metavar="PYTHON", help="a Python with torch, for the comparison")
    parser.add_argument("--torch-seconds", type=float, default=600, help="after which no further combination is begun there")
    parser.add_argument("--only", nargs="+", choices=(*STEPS, "torch"), default=(*STEPS, "torch"))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    options = parser.parse_args()
    folder, file = options.folder.resolve(), options.json.resolve()
    into = Measurements(file)
    into.add("conditions", value=conditions())
    for name in options.only:
        if name == "torch" and options.torch:
            beside = file.with_name("torch.json")
            subprocess.run([options.torch, HERE / "torch_latency.py", folder, beside, str(options.torch_seconds)])
            attempt(into, "torch", lambda beside=beside: into.add("torch", value=read(beside)))
        elif name in STEPS:
            if name == "tuned":
                for model in options.models:
                    change_weights(folder / model / "model.onnx")
            for model, precision in itertools.product(options.models, options.precisions):
                attempt(into, f"{name} {model} {precision}", partial(STEPS[name], folder, into, model, precision))


STEPS: Mapping[str, Callable[[Path, Measurements, str, str], None]] = {"engines": engines, "direct": directly, "tuned": tuned}

if __name__ == "__main__":
    main()
