"""Engines for the GPU at hand, by `doit build` as anybody runs it: built, checked, compared, timed. On a machine with a GPU:

    PYTHONPATH=tests python -m pytest --noconftest tests/gpu

The Python has Enginewright and `tensorrt` in it, any version from 8.5 on; for 8.5 it is CPython 3.10.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import ActionError
from enginewright.execute import ledger
from enginewright.tensorrt.cuda import Cuda, architectures

LACKING = (
    ("there is no GPU", not architectures()),
    *((f"{module} is not installed for this Python", find_spec(module) is None) for module in ("tensorrt", "onnx", "numpy")),
)
pytestmark = pytest.mark.skipif(any(here for _, here in LACKING), reason="; ".join(what for what, here in LACKING if here))

PRECISIONS = ("fp32", "fp16", "int8")
BUILD = """
from enginewright import accuracy_test, fp16, int8, latency_test, onnx_file, tensorrt_engine, tolerance

onnx_file(name="fp32", src="net.onnx", dims={"batch": (1, 4, 16)}, samples="samples.npy")
fp16(name="fp16", model=":fp32")
int8(name="int8", model=":fp32", calibration="samples.npy", tolerance=tolerance(cosine=0.98))
for precision in ("fp32", "fp16", "int8"):
    tensorrt_engine(name=precision + "_engine", model=":" + precision, archs=["ARCH"], backend="tensorrt")
    accuracy_test(name=precision + "_accuracy", engine=f":{precision}_engine_ARCH", reference=":fp32", cosine=0.98)
    latency_test(name=precision + "_latency", engine=f":{precision}_engine_ARCH", batch=8, iterations=100)
"""


def write_net(path: Path, seed: int) -> None:
    """A small network with a convolution and two products, its weights drawn, for opset 16."""
    import numpy as np
    from onnx import numpy_helper
    from onnx.parser import parse_model

    draw = np.random.default_rng(seed)
    body = (
        "a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, c) b = Relu(a) d = GlobalAveragePool(b) e = Flatten(d)"
        " f = MatMul(e, m) g = Relu(f) y = MatMul(g, n)"
    )
    model = parse_model(f'<ir_version: 8, opset_import: ["" : 16]> net (float[batch, 16, 32, 32] x) => (float[batch, 8] y) {{ {body} }}')
    for name, shape in (("c", (32, 16, 3, 3)), ("m", (32, 64)), ("n", (64, 8))):
        scale = np.sqrt(np.prod(shape[1:]) if len(shape) > 2 else shape[0])
        model.graph.initializer.append(numpy_helper.from_array((draw.standard_normal(shape) / scale).astype(np.float32), name))
    path.write_bytes(model.SerializeToString())


class Place:
    """A workspace with the small network, for the GPU at hand."""

    def __init__(self, root: Path) -> None:
        import numpy as np

        self.root, self.arch = root, architectures()[0]
        (root / "net").mkdir(parents=True)
        (root / "dodo.py").write_text("")
        (root / "pyproject.toml").write_text('[tool.doit]\nloader = "enginewright"\n[tool.enginewright]\npackages = ["*"]\n')
        self.declare(BUILD)
        write_net(root / "net/net.onnx", seed=0)
        np.save(root / "net/samples.npy", np.random.default_rng(1).standard_normal((8, 16, 32, 32)).astype(np.float32))

    def declare(self, text: str) -> None:
        (self.root / "net/BUILD.py").write_text(text.replace("ARCH", self.arch))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        from throwaway import DOIT

        environment = {**os.environ, "ENGINEWRIGHT_STORE": str(self.root / "store")}
        return subprocess.Popen(
            [DOIT, *arguments], cwd=self.root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def doit(self, *arguments: str, code: int = 0) -> str:
        started = self.start(*arguments)
        said, _ = started.communicate()
        logs = "".join(
            f"\n--- {path}\n{path.read_text(errors='replace')[-2000:]}" for path in self.root.glob("build/.enginewright/logs/net/*.log")
        )
        assert started.returncode == code, said + logs
        return said

    def out(self, name: str) -> Path:
        return self.root / "build/net" / name.replace("ARCH", self.arch)

    def read(self, name: str) -> Any:
        return json.loads(self.out(name).read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("engines"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_engine_is_built_and_run_and_timed(place: Place, precision: str) -> None:
    place.doit("build", f"net:{precision}_accuracy", f"net:{precision}_latency")
    facts = place.read(f"{precision}_engine_ARCH.json")
    assert facts["arch"] == place.arch and facts["backend"]["name"] == "tensorrt" and facts["device_memory"] >= 0
    assert facts["precision"] == {"fp32": "float32", "fp16": "float16"}.get(precision, precision)
    assert "timing_cache" not in facts["sources"]
    accuracy = place.read(f"{precision}_accuracy.json")
    assert (
        accuracy["outputs"]["y"]["samples"] == 8
        and accuracy["outputs"]["y"]["cosine"] > {"fp32": 0.9999, "fp16": 0.9999, "int8": 0.98}[precision]
    )
    latency = place.read(f"{precision}_latency.json")
    assert 0 < latency["graph"]["p50_ms"] < 10 and 0 < latency["stream"]["p50_ms"] < 10
    said = place.doit("inspect", f"net:{precision}_engine_{place.arch}")
    assert "whole      yes" in said and "runs here  yes" in said and said.count("  layer ") >= 3, said


def test_measurements_are_kept_for_other_weights(place: Place) -> None:
    place.doit("build", f"net:fp16_engine_{place.arch}")
    before = place.read("fp16_engine_ARCH.json")
    write_net(place.root / "net/net.onnx", seed=2)
    place.doit("build", "net:fp16_accuracy")
    after = place.read("fp16_engine_ARCH.json")
    assert after["sources"]["onnx"] != before["sources"]["onnx"] and "timing_cache" in after["sources"]


def test_what_is_too_slow_or_something_else_fails(place: Place) -> None:
    import numpy as np

    samples = np.load(place.root / "net/samples.npy")
    np.savez(place.root / "net/other.npz", **{"in/x": samples, "out/y": -np.ones((8, 8), np.float32)})
    place.declare(
        BUILD
        + 'latency_test(name="slow", engine=":fp32_engine_ARCH", p50_ms=0.0001)\n'
        + 'accuracy_test(name="other", engine=":fp32_engine_ARCH", reference="other.npz")\n'
    )
    said = place.doit("build", "--continue", "net:slow", "net:other", code=1)
    assert re.search(r"the engine is too slow:\s+its median is [\d.]+ ms with", said) and "p50_ms allows 0.0001" in said, said
    assert re.search(r"the engine does not give what its reference has:\s+output y has cosine", said), said


def test_a_damaged_engine_is_not_loaded(place: Place) -> None:
    place.doit("build", f"net:fp32_engine_{place.arch}")
    engine, sidecar = place.out("fp32_engine_ARCH.engine"), place.out("fp32_engine_ARCH.json")
    content = bytearray(engine.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged, what in ((content, "its bytes are others"), (content[:-1], "is cut off")):
        (place.root / "copy.engine").write_bytes(damaged)
        (place.root / "copy.json").write_bytes(sidecar.read_bytes())
        said = place.doit("inspect", "copy.engine")
        assert what in said and "  layer " not in said, said


def test_two_builds_take_turns(tmp_path: Path) -> None:
    places = [Place(tmp_path / name) for name in ("one", "other")]
    for started in [each.start("build", "net:fp32_engine", "net:fp16_engine") for each in places]:
        said, _ = started.communicate()
        assert started.returncode == 0, said
    spans = []
    for each in places:
        (line,) = ledger.read(each.root / ledger.LEDGER)
        spans += [(line.started + entry.began, line.started + entry.ended) for label, entry in line.targets.items() if "_engine_" in label]
    assert len(spans) == 4
    ordered = sorted(spans)
    assert all(ended <= began + 0.01 for (_, ended), (began, _) in itertools.pairwise(ordered)), ordered


def test_an_operator_that_is_not_there(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.declare(
        "from enginewright import onnx_file, tensorrt_engine\n"
        'onnx_file(name="model", src="net.onnx")\n'
        'tensorrt_engine(name="engine", model=":model", archs=["ARCH"], backend="tensorrt")\n'
    )
    write_unsupported(place.root / "net/net.onnx")
    said = place.doit("build", code=1)
    assert "TensorRT cannot read model.onnx" in said and "Det" in said, said


def write_unsupported(path: Path) -> None:
    from onnx.parser import parse_model

    text = '<ir_version: 8, opset_import: ["" : 16]> net (float[2, 3, 3] x) => (float[2] y) { y = Det(x) }'
    path.write_bytes(parse_model(text).SerializeToString())


def test_no_memory_left_on_the_gpu(place: Place) -> None:
    place.declare(BUILD + 'latency_test(name="crowded", engine=":fp32_engine_ARCH", batch=16)\n')
    place.doit("build", f"net:fp32_engine_{place.arch}")
    with crowded(Cuda(place.arch)):
        said = place.doit("build", "net:crowded", code=1)
        assert re.search(r"GPU (ran out of memory|has no room)", said), said
        said = place.doit("forget", f"net:fp32_engine_{place.arch}") + place.doit("build", f"net:fp32_engine_{place.arch}", code=1)
        assert re.search(r"GPU (ran out of memory|has no room)", said), said


@contextmanager
def crowded(cuda: Cuda) -> Iterator[None]:
    """All of the GPU's memory but less than 64 MiB is taken, by plain allocations."""
    with ExitStack() as held:
        size = 1 << 34
        while size >= 1 << 25:
            try:
                held.enter_context(cuda.memory(size))
            except ActionError:
                size >>= 1
        yield
