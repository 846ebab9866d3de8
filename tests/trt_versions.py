"""Modules with the names that versions of TensorRT have, for tests of what is chosen by them. They build nothing."""

from __future__ import annotations

from enum import IntEnum
from types import SimpleNamespace
from typing import Any

_FLAGS_8 = ["FP16", "INT8", "DEBUG", "TF32", "OBEY_PRECISION_CONSTRAINTS", "ENABLE_TACTIC_HEURISTIC"]
_FLAGS_86 = [*_FLAGS_8, "VERSION_COMPATIBLE"]
_FLAGS_10 = ["FP16", "BF16", "INT8", "TF32", "OBEY_PRECISION_CONSTRAINTS", "VERSION_COMPATIBLE", "ERROR_ON_TIMING_CACHE_MISS"]
_FLAGS_108 = [*_FLAGS_10, "EDITABLE_TIMING_CACHE"]
_FLAGS_11 = ["TF32", "VERSION_COMPATIBLE", "ERROR_ON_TIMING_CACHE_MISS", "EDITABLE_TIMING_CACHE"]

# The builder's flags, the network's, the levels of hardware compatibility, and whether there is an optimisation level.
_KNOWN: dict[str, tuple[list[str], list[str], list[str], bool]] = {
    "8.5.3.1": (_FLAGS_8, ["EXPLICIT_BATCH"], [], False),
    "8.6.1": (_FLAGS_86, ["EXPLICIT_BATCH"], ["NONE", "AMPERE_PLUS"], True),
    "10.0.1": (_FLAGS_10, ["EXPLICIT_BATCH", "STRONGLY_TYPED"], ["NONE", "AMPERE_PLUS"], True),
    "10.8.0.43": (_FLAGS_108, ["EXPLICIT_BATCH", "STRONGLY_TYPED"], ["NONE", "AMPERE_PLUS"], True),
    "11.1.0.106": (_FLAGS_11, ["STRONGLY_TYPED"], ["NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"], True),
}


def module(version: str) -> Any:
    """What has the names of this version of ``tensorrt``."""
    flags, network, levels, _ = _KNOWN[version]
    made = SimpleNamespace(
        __version__=version,
        BuilderFlag=IntEnum("BuilderFlag", flags, start=0),
        NetworkDefinitionCreationFlag=IntEnum("NetworkDefinitionCreationFlag", network, start=0),
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
    )
    if version == "8.5.3.1":
        made.PreviewFeature = IntEnum("PreviewFeature", ["FASTER_DYNAMIC_SHAPES_0805", "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"])
    if levels:
        made.HardwareCompatibilityLevel = IntEnum("HardwareCompatibilityLevel", levels, start=0)
    return made


class Cache:
    """A timing cache; one that is made of what does not begin with ``cache`` is empty."""

    def __init__(self, content: bytes) -> None:
        self.content = content if content.startswith(b"cache") else b""

    def serialize(self) -> bytes:
        return self.content


class Config:
    """A builder configuration that remembers what it is told. It refuses the timing cache of another GPU."""

    def __init__(self, version: str) -> None:
        self.flags: set[str] = set()
        self.tactic_sources: int | None = None
        self.pools: dict[str, int] = {}
        self.previewed: set[str] = set()
        self.cache: bytes | None = None
        if _KNOWN[version][3]:
            self.builder_optimization_level = 3

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def set_tactic_sources(self, sources: int) -> None:
        self.tactic_sources = sources

    def set_preview_feature(self, feature: Any, enabled: bool) -> None:
        assert enabled
        self.previewed.add(feature.name)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size

    def create_timing_cache(self, content: bytes) -> Cache:
        return Cache(content)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.content == b"cache of another GPU":
            return False
        self.cache = cache.content
        return True
