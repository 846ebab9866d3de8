"""What is chosen for each version of TensorRT. That its builds then work is for tests/gpu to show."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import pytest

import trt_versions as versions
from enginewright.errors import ActionError
from enginewright.tensorrt.backend import Backend, Settings, choose, load
from enginewright.tensorrt.log import new_log

ALL = ("8.5.3.1", "8.6.1", "10.0.1", "10.8.0.43", "11.1.0.106")


def backend(version: str) -> Backend:
    return Backend("tensorrt", versions.module(version))


def configured(version: str, types: Sequence[str] = ("float32",), **settings: Any) -> Any:
    config = versions.Config(version)
    backend(version).configure(config, "sm_90", Settings(**settings), types)
    return config


def test_networks_have_an_explicit_batch_or_strong_types() -> None:
    assert [backend(version).network_flags() for version in ALL] == [1, 1, 2, 2, 0]
    assert [backend(version).strongly_typed for version in ALL] == [False, False, True, True, True]
    assert Backend("tensorrt_rtx", import_module("tensorrt_rtx")).network_flags() == 0


@pytest.mark.parametrize(
    ("types", "flags"),
    [
        (["float32", "int64"], set()),
        (["float16", "int64"], {"FP16"}),
        (["float32", "int8"], {"INT8"}),
        (["float16", "int8"], {"FP16", "INT8"}),
        (["float16", "float32"], {"FP16", "OBEY_PRECISION_CONSTRAINTS"}),
        (["float16", "float32", "int8"], {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"}),
    ],
)
def test_types_are_flags_where_they_are_wishes(types: list[str], flags: set[str]) -> None:
    for version in ("8.5.3.1", "8.6.1"):
        assert configured(version, types).flags == {*flags, "ENABLE_TACTIC_HEURISTIC"}
    for version in ("10.0.1", "10.8.0.43", "11.1.0.106"):
        assert configured(version, types).flags == set()


def test_a_type_that_a_version_does_not_have() -> None:
    with pytest.raises(ActionError, match=r"TensorRT 8\.5\.3\.1 has no bfloat16: use fp16\(\), or install TensorRT 10 or later"):
        configured("8.5.3.1", ["bfloat16"])
    assert configured("10.0.1", ["bfloat16"]).flags == set()


def test_no_kernels_of_other_libraries() -> None:
    assert [configured(version).tactic_sources for version in ALL] == [0, 0, None, None, None]
    assert [len(configured(version).previewed) for version in ALL] == [2, 0, 0, 0, 0]


def test_settings() -> None:
    config = configured("8.6.1", workspace_mib=64, optimization_level=5, version_compatible=True, hardware_compatibility="ampere_plus")
    assert config.pools == {"workspace": 64 << 20} and config.builder_optimization_level == 5
    assert "VERSION_COMPATIBLE" in config.flags and config.hardware_compatibility_level.name == "AMPERE_PLUS"
    config = configured("11.1.0.106", hardware_compatibility="same_compute_capability")
    assert config.hardware_compatibility_level.name == "SAME_COMPUTE_CAPABILITY"


@pytest.mark.parametrize(
    ("version", "settings", "problem"),
    [
        ("8.5.3.1", {"optimization_level": 3}, "optimization_level: TensorRT 8.5.3.1 has no such thing, TensorRT 8.6 has"),
        ("8.5.3.1", {"version_compatible": True}, "version_compatible: TensorRT 8.5.3.1 has no such thing, TensorRT 8.6 has"),
        ("8.5.3.1", {"hardware_compatibility": "ampere_plus"}, "hardware_compatibility='ampere_plus': TensorRT 8.5.3.1 has no such thing"),
        (
            "10.0.1",
            {"hardware_compatibility": "same_compute_capability"},
            "hardware_compatibility='same_compute_capability': TensorRT 10.0.1 has no such thing, TensorRT 10.9 has",
        ),
    ],
)
def test_settings_that_a_version_does_not_have(version: str, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ActionError) as caught:
        configured(version, **settings)
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("version", "kept", "pinned"),
    [
        ("8.5.3.1", set(), set()),
        ("10.0.1", set(), {"ERROR_ON_TIMING_CACHE_MISS"}),
        ("10.8.0.43", {"EDITABLE_TIMING_CACHE"}, {"EDITABLE_TIMING_CACHE", "ERROR_ON_TIMING_CACHE_MISS"}),
    ],
)
def test_a_declared_timing_cache_is_all_there_is_where_a_version_can_tell(version: str, kept: set[str], pinned: set[str]) -> None:
    for is_pinned, flags in ((False, kept), (True, pinned)):
        config = versions.Config(version)
        assert backend(version).attach_timing_cache(config, b"cache", is_pinned)
        assert config.flags == flags and config.cache == b"cache"


@pytest.mark.parametrize(("content", "taken"), [(b"", True), (b"cache of another GPU", False), (b"damaged", False)])
def test_there_is_a_timing_cache_also_when_none_was_offered_or_it_does_not_fit(content: bytes, taken: bool) -> None:
    config = versions.Config("8.5.3.1")
    assert backend("8.5.3.1").attach_timing_cache(config, content, pinned=False) == taken
    assert config.cache == b""


@pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX")
def test_what_is_no_timing_cache_is_noticed() -> None:
    trt = import_module("tensorrt_rtx")
    log = new_log(trt)
    config = trt.Builder(log).create_builder_config()
    assert not Backend("tensorrt_rtx", trt).attach_timing_cache(config, b"no timing cache", pinned=False)


def test_auto_is_tensorrt_rtx_where_it_can() -> None:
    assert [choose("auto", arch) for arch in ("sm_75", "sm_121", "sm_87", "sm_90", "sm_100")] == ["tensorrt_rtx"] * 2 + ["tensorrt"] * 3
    assert choose("tensorrt", "sm_80") == "tensorrt"


def test_a_backend_that_is_not_installed() -> None:
    assert str(load("tensorrt_rtx")).startswith("TensorRT-RTX 1.")
    try:
        import_module("tensorrt")
    except ImportError:
        with pytest.raises(ActionError, match=r"^tensorrt cannot be imported: "):
            load("tensorrt")
