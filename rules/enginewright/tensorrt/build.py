"""Building one engine: parse the ONNX file, set profiles and settings, and compile.

For one process: after a build that failed, TensorRT-RTX builds other bytes in the same process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from enginewright.errors import ActionError
from enginewright.tensorrt import log as trt_log
from enginewright.tensorrt.backend import RTX, RTX_CAPABILITIES, Backend, Settings
from enginewright.tensorrt.cuda import Cuda

Profile = Mapping[str, Sequence[Sequence[int]]]
"""For each input with a dynamic shape the smallest, the most usual and the largest."""

DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "UINT8": "uint8",
    "BOOL": "bool",
}  # fmt: skip
"""TensorRT's names of element types, and ONNX's."""


@dataclass(frozen=True)
class Request:
    """What to build.

    ``model`` is an ONNX file, whose ``external`` data, if it has any, lies beside it; ``types`` are the element types in it.
    ``float32_nodes`` are the nodes that must compute in float32 in a model with half precision elsewhere: a version of TensorRT
    without strong types is held to them. ``timing_cache`` is what an earlier build measured; ``pinned``, that nothing else may be.
    """

    model: Path
    external: bool = False
    profiles: Sequence[Profile] = ()
    settings: Settings = field(default_factory=Settings)
    types: Sequence[str] = ()
    float32_nodes: Sequence[str] = ()
    timing_cache: bytes = b""
    pinned: bool = False


@dataclass(frozen=True)
class Built:
    """An engine: its bytes, a buffer; the element types of its inputs and outputs; what its build measured, where there is such a
    thing; and the bytes of GPU memory that it takes to run, where known."""

    engine: Any
    dtypes: Mapping[str, str]
    timing_cache: bytes | None = None
    device_memory: int | None = None


class Opened(NamedTuple):
    """A builder of TensorRT's for one architecture, its logger, and the GPU that it builds on, if it needs one."""

    backend: Backend
    arch: str
    builder: Any
    log: Any
    gpu: Cuda | None


def open_builder(backend: Backend, arch: str, plugins: Sequence[Path] = ()) -> Opened:
    """Get a builder ready, which takes seconds on a GPU. ``plugins`` are shared libraries with operators.

    Raises ActionError where there can be none, with TensorRT's own messages.
    """
    if backend.name == RTX and arch not in RTX_CAPABILITIES:
        raise ActionError(f"TensorRT-RTX cannot build for {arch} (it builds for {', '.join(RTX_CAPABILITIES)}): leave it out of archs")
    # TensorRT builds for the GPU that is current, and times kernels on it.
    gpu = Cuda(arch) if backend.has_timing_cache else None
    log = trt_log.new_log(backend.module)
    load_plugins(backend, log, plugins)
    try:
        return Opened(backend, arch, backend.module.Builder(log), log, gpu)
    except TypeError:  # the binding has nothing to give
        raise log.failure(f"{backend} cannot build here") from None


def build(opened: Opened, request: Request) -> Built:
    """Build the engine. Raises ActionError with TensorRT's own messages."""
    backend, arch, builder, log, gpu = opened
    trt = backend.module
    network = builder.create_network(backend.network_flags())
    parser = _parse(trt, network, log, request)
    config = builder.create_builder_config()
    backend.configure(config, arch, request.settings, request.types)
    if "OBEY_PRECISION_CONSTRAINTS" in backend.precision_flags(request.types):
        _hold_to_float32(trt, network, request.float32_nodes)
    for profile in request.profiles:
        _add_profile(builder, config, profile, log)
    if gpu is not None and not backend.attach_timing_cache(config, request.timing_cache, request.pinned):
        if request.pinned:
            raise log.failure("timing_cache: it was not made by this version of TensorRT on this kind of GPU")
        print("the timing cache of the last build is of another version or GPU, and was left out", flush=True)

    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise log.failure(f"TensorRT could not build an engine for {arch}")
    del parser  # it owns weights that the network reads
    values = [network.get_input(i) for i in range(network.num_inputs)] + [network.get_output(i) for i in range(network.num_outputs)]
    dtypes = {value.name: DTYPES.get(value.dtype.name, value.dtype.name.lower()) for value in values}
    if gpu is None:
        return Built(memoryview(serialized), dtypes)
    # There is a GPU here, so that the engine can be loaded: a first check, and it tells what it needs.
    engine = load_engine(backend, log, serialized, request.settings.version_compatible)
    measured = bytes(memoryview(config.get_timing_cache().serialize()))
    return Built(memoryview(serialized), dtypes, measured, backend.device_memory(engine))


def load_plugins(backend: Backend, log: Any, plugins: Sequence[Path]) -> None:
    """Load shared libraries with operators of the user's. Raises ActionError, naming the library that cannot be."""
    if hasattr(backend.module, "init_libnvinfer_plugins"):  # NVIDIA's own
        backend.module.init_libnvinfer_plugins(log, "")
    for plugin in plugins:
        try:
            # Most register what they have when they are loaded.
            library = ctypes.CDLL(str(plugin), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise ActionError(f"plugins: {plugin.name} is no shared library that can be loaded here: {error}") from None
        registry = backend.module.get_plugin_registry()
        # The others export a function that TensorRT asks for what they have.
        if any(hasattr(library, each) for each in ("getCreators", "getPluginCreators")) and hasattr(registry, "load_library"):
            registry.load_library(str(plugin))


def load_engine(backend: Backend, log: Any, engine: Any, version_compatible: bool = False) -> Any:
    """Deserialise an engine, which runs code that is in it: for one that was just built or checked. Raises ActionError."""
    runtime = backend.module.Runtime(log)
    if version_compatible:
        runtime.engine_host_code_allowed = True
    loaded = runtime.deserialize_cuda_engine(engine)
    if loaded is None:
        raise log.failure(f"{backend} cannot load the engine")
    return loaded


def _parse(trt: Any, network: Any, log: Any, request: Request) -> Any:
    parser = trt.OnnxParser(network, log)
    content = request.model.read_bytes()
    # It finds external data by the model's path, and nothing else by it.
    if not (parser.parse(content, str(request.model)) if request.external else parser.parse(content)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        # The parser's errors name the node and its operator; before TensorRT 10 only the log does.
        texts = [str(error) for error in errors]
        log.errors = texts if errors and hasattr(errors[0], "node_name") else [*log.errors, *texts]
        raise log.failure(f"TensorRT cannot read {request.model.name} (if it lacks an operator, write the module without it)")
    return parser


def _add_profile(builder: Any, config: Any, profile: Profile, log: Any) -> None:
    made = builder.create_optimization_profile()
    for name, shapes in profile.items():
        try:
            made.set_shape(name, *(tuple(shape) for shape in shapes))
        except ValueError as error:
            raise log.failure(f"TensorRT refused the shapes {shapes} of input {name} ({error})") from None
    if config.add_optimization_profile(made) < 0:
        raise log.failure(f"TensorRT refused the optimisation profile {dict(profile)}")


def _hold_to_float32(trt: Any, network: Any, nodes: Sequence[str]) -> None:
    """Have the layers of these ONNX nodes compute in float32. A layer is named like its node."""
    wanted = set(nodes)
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.name in wanted and layer.type not in (trt.LayerType.CONSTANT, trt.LayerType.SHAPE):
            layer.precision = trt.float32
            for output in range(layer.num_outputs):
                if layer.get_output(output).dtype in (trt.float32, trt.float16):  # and not the indices that some give as well
                    layer.set_output_type(output, trt.float32)
