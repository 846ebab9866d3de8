"""Every difference between the versions of TensorRT: ``tensorrt`` 8.5 to 11, and ``tensorrt_rtx``.

What a version can do is read off its module where a name tells, and off its number where none does, so that all but `load` works
on anything that has the same names.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from enginewright.errors import ActionError

TENSORRT = "tensorrt"
RTX = "tensorrt_rtx"

DISTRIBUTIONS = {TENSORRT: "tensorrt", RTX: "tensorrt-rtx"}
"""What to install for each backend. The keys are also the names of the modules."""

RTX_CAPABILITIES = {"sm_75": 0x01, "sm_80": 0x02, "sm_86": 0x04, "sm_89": 0x08, "sm_120": 0x10, "sm_121": 0x20}
"""What TensorRT-RTX builds for, without a GPU, and the bit of an engine's header that says so."""

_PREVIEWED = ("FASTER_DYNAMIC_SHAPES_0805", "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805")
"""What TensorRT 8.5 calls previews and later versions do by themselves: dynamic shapes by its compiler, as its own log recommends
for transformers, and no kernels of other libraries in its core."""

HARDWARE_COMPATIBILITY = ("ampere_plus", "same_compute_capability")
"""Which GPUs other than the one it was built on an engine of TensorRT may be for."""


@dataclass(frozen=True)
class Settings:
    """How an engine is to be built: ``workspace_mib`` of scratch memory at most, ``optimization_level`` 0 to 5; None leaves it to
    TensorRT. The others are what tensorrt_engine() calls so."""

    workspace_mib: int | None = None
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatibility: str | None = None


class Backend:
    """One version of TensorRT, as the module that it is imported as."""

    def __init__(self, name: str, module: Any) -> None:
        self.name = name
        self.module = module
        self.version = str(module.__version__)
        self._major = int(self.version.partition(".")[0])

    def __str__(self) -> str:
        return f"{'TensorRT-RTX' if self.name == RTX else 'TensorRT'} {self.version}"

    @property
    def strongly_typed(self) -> bool:
        """Whether each layer has the types that the ONNX file gives it. Before TensorRT 10, they are wishes."""
        return self.name == RTX or self._major >= 10

    @property
    def has_timing_cache(self) -> bool:
        """Whether builds time kernels at all. TensorRT-RTX takes a cache and never puts anything into it."""
        return self.name != RTX

    def network_flags(self) -> int:
        """The flags of `create_network`: an explicit batch dimension and strong types, where they are not the only choice."""
        flags = self.module.NetworkDefinitionCreationFlag
        if self.name == RTX or self._major >= 11:
            return 0
        return int(1 << int(flags.STRONGLY_TYPED if self.strongly_typed else flags.EXPLICIT_BATCH))

    def precision_flags(self, types: Sequence[str]) -> list[str]:
        """The names of the builder flags without which kernels for a network's element ``types`` are not even considered.

        Raises ActionError for a type that this version cannot compute with.
        """
        if self.strongly_typed:
            return []
        if "bfloat16" in types and not hasattr(self.module.BuilderFlag, "BF16"):
            raise ActionError(f"{self} has no bfloat16: use fp16(), or install TensorRT 10 or later")
        names = {"float16": "FP16", "bfloat16": "BF16", "int8": "INT8"}
        flags = [names[each] for each in sorted(set(types)) if each in names]
        # With half precision allowed, layers that are to stay in float32 must be held to that one by one: see `build`.
        half = {"FP16", "BF16"} & set(flags)
        return [*flags, "OBEY_PRECISION_CONSTRAINTS"] if half and "float32" in types else flags

    def configure(self, config: Any, arch: str, settings: Settings, types: Sequence[str]) -> None:
        """Set a builder configuration up for one architecture. Raises ActionError where this version lacks what is asked for."""
        trt = self.module
        if self.name == RTX:
            config.num_compute_capabilities = 1
            if not config.set_compute_capability(getattr(trt.ComputeCapability, arch.replace("sm_", "SM")), 0):
                raise ActionError(f"{self} refused to build for {arch}")
        for flag in self.precision_flags(types):
            config.set_flag(getattr(trt.BuilderFlag, flag))
        if self.name == TENSORRT and self._major < 10:
            # An engine must not depend on which cuBLAS and cuDNN happen to be installed; later versions use neither by default.
            config.set_tactic_sources(0)
            for feature in _PREVIEWED:
                if hasattr(getattr(trt, "PreviewFeature", None), feature):
                    config.set_preview_feature(getattr(trt.PreviewFeature, feature), True)
            # Without it, builds of ordinary networks in float32 were seen not to end.
            if hasattr(trt.BuilderFlag, "ENABLE_TACTIC_HEURISTIC"):
                config.set_flag(trt.BuilderFlag.ENABLE_TACTIC_HEURISTIC)
        if settings.workspace_mib is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
        if settings.optimization_level is not None:
            self._need(hasattr(config, "builder_optimization_level"), "optimization_level", "8.6")
            config.builder_optimization_level = settings.optimization_level
        if settings.version_compatible:
            self._need(hasattr(trt.BuilderFlag, "VERSION_COMPATIBLE"), "version_compatible", "8.6")
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if settings.hardware_compatibility is not None:
            level = settings.hardware_compatibility.upper()
            known = hasattr(getattr(trt, "HardwareCompatibilityLevel", None), level)
            self._need(known, f"hardware_compatibility={settings.hardware_compatibility!r}", "8.6" if level == "AMPERE_PLUS" else "10.9")
            config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)

    def _need(self, there: bool, attribute: str, since: str) -> None:
        if not there:
            raise ActionError(f"{attribute}: {self} has no such thing, TensorRT {since} has: leave it out, or install that or a later one")

    def attach_timing_cache(self, config: Any, content: bytes, pinned: bool) -> bool:
        """Have a build take timings from ``content``, empty for none, and keep what it measures in addition.

        With ``pinned``, versions that can (10.0 and later) fail where a timing is missing, instead of measuring it. Returns False
        when the cache is not of this version and GPU, and was left out.
        """
        flags = self.module.BuilderFlag
        if hasattr(flags, "EDITABLE_TIMING_CACHE"):  # 10.8: in a cache of this kind, people can pin single tactics
            config.set_flag(flags.EDITABLE_TIMING_CACHE)
        if pinned and hasattr(flags, "ERROR_ON_TIMING_CACHE_MISS"):
            config.set_flag(flags.ERROR_ON_TIMING_CACHE_MISS)
        empty = config.create_timing_cache(b"")
        if content:
            cache = config.create_timing_cache(content)
            # What cannot be read gives an empty cache, and a warning in the log.
            read = cache is not None and bytes(memoryview(cache.serialize())) != bytes(memoryview(empty.serialize()))
            if read and config.set_timing_cache(cache, False):
                return True
        config.set_timing_cache(empty, False)
        return not content

    def device_memory(self, engine: Any) -> int:
        """The bytes of GPU memory that running a deserialised engine takes beside its weights, inputs and outputs."""
        return int(engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size)

    def new_context(self, engine: Any) -> Any:
        """An execution context of a deserialised engine. Raises ActionError where the GPU has no memory for it."""
        context = engine.create_execution_context()
        if context is None:
            raise ActionError("the GPU has no room for running the engine: end what else runs on it")
        return context


def choose(backend: str, arch: str) -> str:
    """The backend that ``backend``, which may be ``auto``, means for an architecture: TensorRT-RTX for those that it builds for."""
    if backend != "auto":
        return backend
    return RTX if arch in RTX_CAPABILITIES else TENSORRT


def load(name: str) -> Backend:
    """Import a backend. Raises ActionError when it is not installed, or its libraries cannot be loaded."""
    try:
        return Backend(name, importlib.import_module(name))
    except (ImportError, OSError) as error:
        raise ActionError(f"{DISTRIBUTIONS[name]} cannot be imported: {error}") from None
