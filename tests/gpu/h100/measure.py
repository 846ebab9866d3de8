"""Builds, runs and times engines on an H100, and writes what came out as JSON:

    python tests/gpu/h100/measure.py FOLDER --json FILE [--torch PYTHON] [--only STEP ...]

FOLDER is what prepare.py made. The Python that runs this has Enginewright and TensorRT 8.5, and so is CPython 3.10; PYTHON has
torch, and what the networks import. Each step stands by itself: one that fails is noted, and the others go on.

``engines``: each engine by `doit build`, without and with a timing cache, and by the same calls made directly (direct.py), in turn;
compared with its reference by its accuracy_test(), timed by its latency_test(). ``tuned``: the weights are changed, and the
engines built again, from the kept timing cache and, forgotten before, without. ``torch``: the same networks in PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
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
    return {"seconds": round(seconds, 2), **json.loads(done.stdout)}


def log_of(folder: Path, label: str) -> Path:
    """Where what an action printed is."""
    return folder / "build/.enginewright/logs" / f"{label.replace(':', '/')}.log"


def engine(folder: Path, label: str) -> dict[str, float]:
    """The seconds of an engine's build: of the whole command, of the action, and of TensorRT in it."""
    report = build(folder, label)
    action = next(each for each in report["actions"] if each["label"] == label)
    assert action["status"] == "built", action
    inside = re.search(r"TensorRT .* took ([\d.]+) s", log_of(folder, label).read_text())
    return {"command_s": report["seconds"], "action_s": action["seconds"], "tensorrt_s": float(inside[1]) if inside else 0.0}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def direct(folder: Path, model: str, precision: str, cache: Path) -> dict[str, float]:
    """The same engine without Enginewright, in a process of its own, with its seconds."""
    onnx_file = folder / f"build/{model}/{precision}.onnx"
    if precision == "int8":  # TensorRT 8.5 takes float weights: see enginewright.model.quantised
        import onnx

        from enginewright.model.quantised import with_float_weights

        readable = onnx.load(onnx_file)
        if with_float_weights(readable):
            onnx_file = folder / f"{model}_int8.onnx"
            onnx.save(readable, onnx_file)
    facts = read(folder / f"build/{model}/{precision}_engine_sm_90.json")
    options = json.dumps({"flags": FLAGS[precision], "profile": facts["profiles"][0]})
    command = [sys.executable, HERE / "direct.py", onnx_file, folder / "direct.engine", cache, options]
    began = time.monotonic()
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-2000:])
    return {"command_s": round(time.monotonic() - began, 2), **json.loads(done.stdout.splitlines()[-1])}


def one(folder: Path, into: Measurements, model: str, precision: str) -> None:
    """Everything about one engine."""
    name, keys = f"{model}:{precision}", ("engines", model, precision)
    label = f"{name}_engine_sm_90"
    into.add(*keys, "build", value=engine(folder, label))
    build(folder, f"{name}_accuracy")
    into.add(*keys, "accuracy", value=read(folder / f"build/{model}/{precision}_accuracy.json")["outputs"])
    for batch in BATCHES:
        build(folder, f"{name}_latency_{batch}")
        report = read(folder / f"build/{model}/{precision}_latency_{batch}.json")
        into.add(*keys, "latency", str(batch), value={way: report[way] for way in ("shapes", "stream", "graph")})
    cache = folder / f"{model}_{precision}.cache"
    cache.unlink(missing_ok=True)
    into.add(*keys, "direct", value=direct(folder, model, precision, cache))
    # Again, both from a timing cache: what is compared is then shorter, and so is what varies.
    into.add(*keys, "direct_cached", value=direct(folder, model, precision, cache))
    facts = read(folder / f"build/{model}/{precision}_engine_sm_90.json")
    into.add(*keys, "sidecar", value={each: facts[each] for each in ("precision", "device_memory", "engine", "backend")})
    shown = subprocess.run([DOIT, "inspect", label], cwd=folder, text=True, capture_output=True, check=True).stdout.splitlines()
    into.add(*keys, "inspect", value=[*[line for line in shown if "  layer" not in line], f"{sum('  layer' in line for line in shown)} layers"])


def engines(folder: Path, into: Measurements) -> None:
    build(folder, *(f"{model}:{precision}" for model in MODELS for precision in PRECISIONS))  # which needs no GPU
    for precision in ("fp16", "int8", "fp32"):
        for model in MODELS:
            attempt(into, f"engines {model} {precision}", lambda model=model, precision=precision: one(folder, into, model, precision))


def tuned(folder: Path, into: Measurements) -> None:
    """A weights-only change: every float weight moves by a ten-thousandth of itself."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    draw = np.random.default_rng(0)
    for model in MODELS:
        path = folder / model / "model.onnx"
        changed = onnx.load(path)
        for weight in changed.graph.initializer:
            values = numpy_helper.to_array(weight)
            if values.dtype == np.float32 and values.size > 1:
                weight.CopyFrom(numpy_helper.from_array((values * (1 + 1e-4 * draw.standard_normal(values.shape))).astype(np.float32), weight.name))
        onnx.save(changed, path)
    build(folder, *(f"{model}:{precision}" for model in MODELS for precision in PRECISIONS))
    for model in MODELS:
        for precision in PRECISIONS:
            label = f"{model}:{precision}_engine_sm_90"
            attempt(into, f"tuned {label}", lambda model=model, precision=precision, label=label: into.add(
                "tuned", model, precision, "kept", value=engine(folder, label)))  # fmt: skip
    for model in MODELS:
        for precision in PRECISIONS:
            label = f"{model}:{precision}_engine_sm_90"

            def without(model: str = model, precision: str = precision, label: str = label) -> None:
                subprocess.run([DOIT, "forget", label], cwd=folder, check=True, capture_output=True)
                into.add("tuned", model, precision, "without", value=engine(folder, label))

            attempt(into, f"forgotten {label}", without)


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
    parser.add_argument("--only", nargs="+", choices=("engines", "tuned", "torch"), default=("engines", "tuned", "torch"))
    options = parser.parse_args()
    folder, into = options.folder.resolve(), Measurements(options.json.resolve())
    into.add("conditions", value=conditions())
    steps: Sequence[str] = options.only
    if "engines" in steps:
        attempt(into, "engines", lambda: engines(folder, into))
    if "torch" in steps and options.torch:
        beside = into._path.with_name("torch.json")
        subprocess.run([options.torch, HERE / "torch_latency.py", folder, beside, str(options.torch_seconds)])
        attempt(into, "torch", lambda: into.add("torch", value=read(beside)))
    if "tuned" in steps:
        attempt(into, "tuned", lambda: tuned(folder, into))


if __name__ == "__main__":
    main()
