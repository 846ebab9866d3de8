"""tensorrt_engine(): a model compiled for GPU architectures, one engine and one target each.

The backend is TensorRT-RTX, which compiles ahead of time on a machine without a GPU. Each engine has a sidecar, a JSON file with
what its bytes do not tell: the tensors it takes and gives, its profiles, what it was built from and how.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from enginewright.errors import ActionError
from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem, Needs, did_you_mean
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Group, Lookup, Rule, declaration
from enginewright.model.shapes import Range, check_ranges

if TYPE_CHECKING:
    import onnx

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_103", "sm_120", "sm_121")

_CAPABILITY_BITS = {"sm_75": 0x01, "sm_80": 0x02, "sm_86": 0x04, "sm_89": 0x08, "sm_120": 0x10, "sm_121": 0x20}
"""What TensorRT-RTX builds for without a GPU, and the bit of an engine's header that says so."""


@dataclass(frozen=True, kw_only=True)
class TensorrtEngine(Rule):
    """``model`` as one TensorRT engine per architecture of ``archs``: targets ``NAME_sm_80`` and so on, and ``NAME`` for all.

    ``dims`` replaces (min, opt, max) of some of the dimensions that the onnx_model() at the start of the model's chain declares,
    within what it was exported for. ``workspace_mib`` limits the scratch memory of the engine, in MiB; ``optimization_level``
    (0 to 5) trades build time for speed. Both are TensorRT's choice when left out.
    """

    kind: ClassVar[str] = "tensorrt_engine"

    model: Annotated[Label, Needs("onnx")]
    archs: tuple[str, ...]
    dims: Mapping[str, Range] = field(default_factory=dict)
    workspace_mib: int | None = None
    optimization_level: int | None = None

    def check(self) -> None:
        if not self.archs:
            raise AttributeProblem("archs", "expected at least one architecture, as 'sm_80'")
        for arch in self.archs:
            if arch not in ARCHITECTURES:
                raise AttributeProblem("archs", f"{arch!r} is not a known architecture (there are: {', '.join(ARCHITECTURES)})")
            if self.archs.count(arch) > 1:
                raise AttributeProblem("archs", f"{arch!r} is listed twice")
        check_ranges("dims", self.dims)
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise AttributeProblem("workspace_mib", f"is {self.workspace_mib}: expected at least 1 MiB")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise AttributeProblem("optimization_level", f"is {self.optimization_level}: expected 0 to 5")

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        exported_by, exported = _exported_dims(self.model, lookup)
        for dim, (least, _, most) in self.dims.items():
            where = f"dims[{dim!r}]"
            if dim not in exported:
                raise AttributeProblem(where, f"{exported_by} has no such dimension{did_you_mean(dim, exported)}")
            if least < exported[dim][0] or most > exported[dim][2]:
                raise AttributeProblem(where, f"{exported_by} was exported for sizes {exported[dim][0]} to {exported[dim][2]} only")
        for arch in self.archs:
            yield Engine(
                name=f"{self.name}_{arch}",
                model=self.model,
                arch=arch,
                dims={**exported, **self.dims},
                workspace_mib=self.workspace_mib,
                optimization_level=self.optimization_level,
            )
        yield Group(name=self.name, members=tuple(Label(package, f"{self.name}_{arch}") for arch in self.archs))


tensorrt_engine = declaration(TensorrtEngine)


def _exported_dims(model: Label, lookup: Lookup) -> tuple[Label, Mapping[str, Range]]:
    """The dynamic dimensions of a model, from the first rule up its chain of models that declares them, and that rule's label."""
    seen = {model}
    rule = lookup(model)
    while not hasattr(rule, "dims") and isinstance(source := getattr(rule, "model", None), Label) and source not in seen:
        seen.add(source)
        model, rule = source, lookup(source)
    return model, getattr(rule, "dims", {})


@dataclass(frozen=True, kw_only=True)
class Engine(Rule):
    """One engine: what tensorrt_engine() declares for one architecture. ``dims`` has a range for every dynamic dimension."""

    kind: ClassVar[str] = "tensorrt_engine"
    provides: ClassVar[Mapping[str, str]] = {"engine": ".engine", "sidecar": ".json"}

    model: Annotated[Label, Needs("onnx")]
    arch: str
    dims: Mapping[str, Range]
    workspace_mib: int | None
    optimization_level: int | None

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="TensorrtEngine",
            run="enginewright.rules.engine:build",
            inputs={"model": context.input(self.model, "onnx")},
            outputs={name: context.output(suffix) for name, suffix in self.provides.items()},
            params={
                "arch": self.arch,
                "dims": self.dims,
                "workspace_mib": self.workspace_mib,
                "optimization_level": self.optimization_level,
            },
            packages=("tensorrt-rtx", "onnx"),
            warm_up=None,  # a build that failed leaves the process in a state in which the next engine silently differs
            requires={} if self.arch in _CAPABILITY_BITS else {"gpu": self.arch},
        )


def build(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Compile ``model`` for one architecture, and write the engine and its sidecar.

    Raises ActionError with TensorRT's own messages. Run it in a process of its own: after a failure, TensorRT-RTX builds
    other bytes in the same process.
    """
    import tensorrt_rtx as trt

    from enginewright.model.onnx_format import read_model

    arch, dims = params["arch"], params["dims"]
    if arch not in _CAPABILITY_BITS:
        raise ActionError(f"TensorRT-RTX cannot build for {arch} (it builds for {', '.join(_CAPABILITY_BITS)}): leave it out of archs")
    # TensorRT's parser accepts files that are not ONNX at all.
    model, content = read_model(inputs["model"]), inputs["model"].read_bytes()
    profile = _profile(model, dims)

    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network()
    parser = trt.OnnxParser(network, log)
    if not parser.parse(content):
        # The parser's errors name the node and its operator, which its log does not.
        log.errors = [str(parser.get_error(i)) for i in range(parser.num_errors)] or log.errors
        raise log.failure(f"TensorRT cannot read {inputs['model'].name} (if it lacks an operator, write the module without it)")

    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(getattr(trt.ComputeCapability, arch.replace("sm_", "SM")), 0):
        raise log.failure(f"TensorRT refused to build for {arch}")
    if params["workspace_mib"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, params["workspace_mib"] << 20)
    if params["optimization_level"] is not None:
        config.builder_optimization_level = params["optimization_level"]
    if profile:
        optimisation = builder.create_optimization_profile()
        for name, shapes in profile.items():
            optimisation.set_shape(name, *shapes)
        if config.add_optimization_profile(optimisation) < 0:
            raise log.failure(f"TensorRT refused the optimisation profile {profile}")

    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise log.failure(f"TensorRT could not build an engine for {arch}")
    engine = bytes(serialized)
    sidecar = {
        "format": 1,
        "arch": arch,
        "backend": {"name": "tensorrt_rtx", "version": trt.__version__},
        "engine": {"sha256": hashlib.sha256(engine).hexdigest(), "size": len(engine), "weight_bytes": _read_header(engine, arch)},
        "io": _io(model),
        "precision": _precision(model),
        "profiles": [profile] if profile else [],
        "settings": {name: params[name] for name in ("workspace_mib", "optimization_level")},
        "sources": {"onnx": {"sha256": hashlib.sha256(content).hexdigest()}},
    }
    outputs["engine"].write_bytes(engine)
    outputs["sidecar"].write_text(json.dumps(sidecar, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _log(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """TensorRT's messages: all to the action's log, the errors kept for its reason."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            # Without a driver TensorRT-RTX says so, as an error, and goes on to build all the same.
            if "cudaError 35" in message:
                return
            if severity <= trt.ILogger.WARNING:
                print(f"{severity.name}: {message}", flush=True)
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)

        def failure(self, what: str) -> ActionError:
            return ActionError("\n  ".join([f"{what}:", *dict.fromkeys(self.errors or ["TensorRT gave no reason"])]))

    return Log()


def _profile(model: onnx.ModelProto, dims: Mapping[str, Sequence[int]]) -> dict[str, tuple[list[int], ...]]:
    """The shapes (min, opt, max) of every input with a dynamic dimension. Raises ActionError unless ``dims`` has exactly those."""
    profile = {}
    used = set()
    for value in model.graph.input:
        shape = _shape(value)
        names = {dim for dim in shape if isinstance(dim, str)}
        if missing := sorted(names - set(dims)):
            raise ActionError(f"input {value.name} has the dynamic dimension {missing[0]!r} and no range for it: add it to dims")
        if names:
            profile[value.name] = tuple([dims[dim][i] if isinstance(dim, str) else dim for dim in shape] for i in range(3))
        used |= names
    if unknown := sorted(set(dims) - used):
        raise ActionError(f"dims: no input of the model has a dimension {unknown[0]!r} (there are: {', '.join(sorted(used)) or 'none'})")
    return profile


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    """The dimensions of an input or output: sizes, and names of dynamic ones (``?`` where ONNX has none)."""
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim]


def _io(model: onnx.ModelProto) -> list[dict[str, Any]]:
    return [
        {"name": value.name, "mode": mode, "dtype": _dtype(value.type.tensor_type.elem_type), "shape": _shape(value)}
        for mode, values in (("input", model.graph.input), ("output", model.graph.output))
        for value in values
    ]


def _precision(model: onnx.ModelProto) -> str:
    """The element type that holds most of the weights' bytes; that of the first output for a model without weights."""
    sizes: Counter[str] = Counter()
    for weight in model.graph.initializer:
        sizes[_dtype(weight.data_type)] += weight.ByteSize()
    return max(sizes, key=lambda dtype: (sizes[dtype], dtype)) if sizes else _dtype(model.graph.output[0].type.tensor_type.elem_type)


def _dtype(elem_type: int) -> str:
    from onnx.helper import tensor_dtype_to_np_dtype

    return tensor_dtype_to_np_dtype(elem_type).name


def _read_header(engine: bytes, arch: str) -> int:
    """Check an engine's header, and return the bytes of weights at the engine's end.

    TensorRT-RTX does not document the header. Little-endian, 64 bytes: the magic ``vtrt`` at 0, the file's length at 16, the
    compute capabilities it was built for at 32 (see `_CAPABILITY_BITS`), the size of the weights at 56.
    Raises ActionError where any of it is not so: a cut-off engine, or one for another architecture.
    """
    magic, length, capabilities, weights = struct.unpack_from("<4s12xQ8xQ16xQ", engine.ljust(64, b"\0"))
    if magic != b"vtrt" or length != len(engine) or capabilities != _CAPABILITY_BITS[arch]:
        raise ActionError(
            f"the engine TensorRT wrote for {arch} is not what was asked for: magic {magic!r}, length {length} of {len(engine)}, "
            f"compute capabilities {capabilities:#x}, expected {_CAPABILITY_BITS[arch]:#x}. This TensorRT-RTX may write another format"
        )
    return int(weights)
