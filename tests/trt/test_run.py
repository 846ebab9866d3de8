"""Which shapes an engine is run with, and what is made of the times. Running one is for tests/gpu."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from enginewright.errors import ActionError
from enginewright.execute.platform import gpus
from enginewright.tensorrt.cuda import Cuda
from enginewright.tensorrt.run import profile_for, shapes_of, summary

SMALL = {"ids": [[1, 8], [2, 64], [4, 128]]}
LARGE = {"ids": [[5, 8], [16, 64], [32, 256]]}
FACTS: dict[str, Any] = {
    "io": [
        {"name": "ids", "mode": "input", "dtype": "int64", "shape": ["batch", "sequence"]},
        {"name": "scale", "mode": "input", "dtype": "float32", "shape": [1]},
        {"name": "y", "mode": "output", "dtype": "float32", "shape": ["batch", 3]},
    ],
    "profiles": [SMALL, LARGE],
}


@pytest.mark.parametrize(
    ("dims", "shape", "profile"),
    [
        ({}, [2, 64], 0),
        ({"batch": 4}, [4, 64], 0),
        ({"batch": 8}, [8, 64], 1),
        ({"batch": 32, "sequence": 256}, [32, 256], 1),
        ({"sequence": 200}, [16, 200], 1),
    ],
)
def test_a_profile_is_found_for_the_sizes(dims: dict[str, int], shape: list[int], profile: int) -> None:
    shapes = shapes_of(FACTS, dims)
    assert shapes == {"ids": shape, "scale": [1]}
    assert profile_for(FACTS["profiles"], shapes) == profile


def test_an_engine_without_dynamic_dimensions_has_one_shape() -> None:
    facts = {"io": [{"name": "x", "mode": "input", "dtype": "float32", "shape": [3, 4]}], "profiles": []}
    assert shapes_of(facts, {}) == {"x": [3, 4]}
    with pytest.raises(ActionError, match=r"the engine has no dimension 'batch' \(there are: none\)"):
        shapes_of(facts, {"batch": 1})


@pytest.mark.parametrize(
    ("dims", "problem"),
    [
        ({"bach": 1}, "the engine has no dimension 'bach' (there are: batch, sequence)"),
        (
            {"batch": 64},
            "the engine was not built for batch 64: its profiles are for"
            " batch 1 to 4, sequence 8 to 128; or batch 5 to 32, sequence 8 to 256",
        ),
        ({"batch": 4, "sequence": 200}, "the engine was not built for batch 4, sequence 200: its profiles are for "),
    ],
)
def test_sizes_that_no_profile_has(dims: dict[str, int], problem: str) -> None:
    with pytest.raises(ActionError) as caught:
        shapes_of(FACTS, dims)
    assert str(caught.value).startswith(problem)


def test_the_percentiles_are_times_that_were_measured() -> None:
    assert summary([float(i) for i in range(100, 0, -1)]) == {"p50_ms": 50.0, "p99_ms": 99.0, "min_ms": 1.0, "max_ms": 100.0}
    assert summary([0.5]) == {"p50_ms": 0.5, "p99_ms": 0.5, "min_ms": 0.5, "max_ms": 0.5}


@pytest.mark.skipif(bool(gpus()), reason="there is a GPU, of which tests/gpu makes use")
def test_a_machine_without_a_gpu() -> None:
    with pytest.raises(ActionError, match="needs a GPU of architecture sm_90, and there "):
        Cuda("sm_90")


def test_a_driver_that_refuses() -> None:
    cuda = object.__new__(Cuda)
    cuda._driver = ctypes.CDLL(None)
    # Of the C library, in the place of a function of the driver that fails: it gives back what it is given.
    with pytest.raises(ActionError, match="the GPU ran out of memory"):
        cuda._call("abs", 2)
