"""Running an engine on a GPU: once, for its outputs, or many times, for its latency."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from enginewright.errors import ActionError
from enginewright.tensorrt import build, sidecar
from enginewright.tensorrt.backend import Backend, load
from enginewright.tensorrt.cuda import Cuda, architectures
from enginewright.tensorrt.log import new_log

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1, "bool": 1, "int32": 4, "int64": 8}


class Session:
    """An engine on a GPU, loaded after it was checked against its sidecar. Made by `open_session`."""

    def __init__(self, backend: Backend, engine: Any, facts: Mapping[str, Any], cuda: Cuda) -> None:
        self.facts = facts
        self.cuda = cuda
        self.backend = backend
        self.engine = engine
        self._context = backend.new_context(engine)

    def run(self, inputs: Mapping[str, bytes], shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[bytes, tuple[int, ...]]]:
        """Run once on ``inputs``, bytes in row-major order of these shapes; return each output's bytes and shape."""
        with self._placed(shapes) as (addresses, sizes):
            for name, content in inputs.items():
                if len(content) != sizes[name]:
                    raise ActionError(f"input {name} has {len(content)} bytes, and {tuple(shapes[name])} takes {sizes[name]}")
                self.cuda.upload(addresses[name], content)
            self._enqueue()
            self.cuda.synchronise()
            outputs = [tensor["name"] for tensor in self.facts["io"] if tensor["mode"] == "output"]
            return {name: (self.cuda.download(addresses[name], sizes[name]), self._shape(name)) for name in outputs}

    def time(self, shapes: Mapping[str, Sequence[int]], warmup: int, iterations: int, graph: bool) -> list[float]:
        """How long the GPU takes for each of so many runs on zeros, in milliseconds, after ``warmup`` others.

        With ``graph``, each is one launch of a CUDA graph, which saves the time it takes to launch the kernels one by one.
        """
        with self._placed(shapes) as (addresses, sizes):
            for tensor in self.facts["io"]:
                if tensor["mode"] == "input":
                    self.cuda.upload(addresses[tensor["name"]], bytes(sizes[tensor["name"]]))
            self._enqueue()  # TensorRT prepares for new shapes in their first run, which cannot be captured
            self.cuda.synchronise()
            with self.cuda.capture(self._enqueue) if graph else nullcontext(None) as captured:
                launch: Callable[[], None] = self._enqueue if captured is None else lambda: self.cuda.launch(captured)
                for _ in range(warmup):
                    launch()
                self.cuda.synchronise()
                return [self._time_one(launch) for _ in range(iterations)]

    def _time_one(self, launch: Callable[[], None]) -> float:
        with self.cuda.event() as start, self.cuda.event() as end:
            self.cuda.record(start)
            launch()
            self.cuda.record(end)
            self.cuda.synchronise()
            return self.cuda.milliseconds(start, end)

    @contextmanager
    def _placed(self, shapes: Mapping[str, Sequence[int]]) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
        """Set the inputs' shapes, and give every tensor memory: addresses and sizes in bytes, by name."""
        self._choose_profile(shapes)
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, tuple(shape)):
                raise ActionError(f"the engine takes no input {name} of shape {tuple(shape)}")
        addresses, sizes = {}, {}
        with ExitStack() as held:
            for tensor in self.facts["io"]:
                name = tensor["name"]
                shape = self._shape(name)
                if min(shape, default=0) < 0:
                    raise ActionError(
                        f"output {name} has the shape {shape}, which depends on the inputs' values: such engines cannot be run here"
                    )
                if tensor["dtype"] not in _BYTES:
                    raise ActionError(f"{name} has elements of type {tensor['dtype']}, which cannot be given or read here")
                sizes[name] = math.prod(shape) * _BYTES[tensor["dtype"]]
                addresses[name] = held.enter_context(self.cuda.memory(sizes[name]))
                self._context.set_tensor_address(name, addresses[name])
            yield addresses, sizes

    def _choose_profile(self, shapes: Mapping[str, Sequence[int]]) -> None:
        number = profile_for(self.facts["profiles"], shapes)
        if number != self._context.active_optimization_profile and not self._context.set_optimization_profile_async(
            number, self.cuda.stream
        ):
            raise ActionError(f"the engine refused its optimisation profile {number}")
        self.cuda.synchronise()

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._context.get_tensor_shape(name))

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self.cuda.stream):
            raise ActionError("the engine could not be run: see the log for what TensorRT says")


def open_session(engine: Path, facts: Mapping[str, Any], plugins: Sequence[Path] = (), say: bool = True) -> Session:
    """Load an engine that is as its sidecar says, and before it its plugins; TensorRT may ``say`` things on standard output.

    Raises ActionError when it is not, or cannot run here.
    """
    if reason := sidecar.damage(engine, facts):
        raise ActionError(reason)
    backend = load(facts["backend"]["name"])
    gpus = architectures()
    if reason := sidecar.unfit(facts, gpus, {backend.name: backend.version}):
        raise ActionError(reason)
    cuda = Cuda(next(gpu for gpu in gpus if sidecar.runs_on(facts, gpu)))
    log = new_log(backend.module, say)
    build.load_plugins(backend, log, plugins)
    loaded = build.load_engine(backend, log, engine.read_bytes(), bool(facts["settings"].get("version_compatible")))
    return Session(backend, loaded, facts, cuda)


def shapes_of(facts: Mapping[str, Any], dims: Mapping[str, int]) -> dict[str, list[int]]:
    """The inputs' shapes with these sizes of their dynamic dimensions; for one that is not given, the usual size of a profile.

    Raises ActionError for a dimension that no input has, and for sizes that are outside of every profile.
    """
    inputs = [tensor for tensor in facts["io"] if tensor["mode"] == "input"]
    known = {dim for tensor in inputs for dim in tensor["shape"] if isinstance(dim, str)}
    if unknown := sorted(set(dims) - known):
        raise ActionError(f"the engine has no dimension {unknown[0]!r} (there are: {', '.join(sorted(known)) or 'none'})")
    for profile in facts["profiles"] or [{}]:
        shapes = {
            tensor["name"]: [
                dims.get(dim, profile[tensor["name"]][1][i]) if isinstance(dim, str) else dim for i, dim in enumerate(tensor["shape"])
            ]
            for tensor in inputs
        }
        if _within(profile, shapes):
            return shapes
    raise ActionError(f"the engine was not built for {_shown(dims)}: {_ranges(inputs, facts['profiles'])}")


def profile_for(profiles: Sequence[build.Profile], shapes: Mapping[str, Sequence[int]]) -> int:
    """The number of the first profile that these shapes are within; 0 when there is none."""
    return next((number for number, profile in enumerate(profiles) if _within(profile, shapes)), 0)


def _within(profile: build.Profile, shapes: Mapping[str, Sequence[int]]) -> bool:
    return all(
        least <= size <= most for name, (small, _, large) in profile.items() for least, size, most in zip(small, shapes[name], large)
    )


def _shown(dims: Mapping[str, int]) -> str:
    return ", ".join(f"{dim} {size}" for dim, size in dims.items())


def _ranges(inputs: Sequence[Mapping[str, Any]], profiles: Sequence[build.Profile]) -> str:
    """The sizes that each profile allows for each dimension."""
    texts = []
    for profile in profiles:
        sizes = {
            dim: f"{dim} {profile[tensor['name']][0][i]} to {profile[tensor['name']][2][i]}"
            for tensor in inputs
            for i, dim in enumerate(tensor["shape"])
            if isinstance(dim, str)
        }
        texts.append(", ".join(sizes.values()))
    return "its profiles are for " + "; or ".join(texts)


def summary(times: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile of times, the nearest that was measured, and their extremes, in milliseconds."""
    ordered = sorted(times)
    ranks = {"p50_ms": 0.5, "p99_ms": 0.99}
    found = {name: ordered[max(math.ceil(part * len(ordered)) - 1, 0)] for name, part in ranks.items()}
    return {**{name: round(value, 4) for name, value in found.items()}, "min_ms": round(ordered[0], 4), "max_ms": round(ordered[-1], 4)}


def layers_of(engine: Path, facts: Mapping[str, Any]) -> list[str]:
    """The names of an engine's layers, in the order in which they run. Raises ActionError as `open_session` does."""
    session = open_session(engine, facts, say=False)
    trt = session.backend.module
    text = session.engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    layers = json.loads(text).get("Layers", [])
    return [layer if isinstance(layer, str) else str(layer.get("Name", layer)) for layer in layers]
