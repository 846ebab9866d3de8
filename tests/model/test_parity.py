from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from enginewright.model.parity import beyond, distance
from enginewright.model.tolerance import Tolerance, tolerance

VECTORS = arrays(np.float32, array_shapes(max_side=6), elements=st.floats(-(2.0**100), 2.0**100, width=32))
STRICT = Tolerance(max_abs=1e30, max_rel=1e30, cosine=-1.0)


@given(VECTORS)
def test_an_array_is_no_distance_from_itself(a: NDArray[np.float32]) -> None:
    found = distance(a, a)
    assert found[:2] == (0.0, 0.0) and found.cosine == pytest.approx(1.0, abs=1e-12)
    assert list(beyond(found, Tolerance(max_abs=0, max_rel=0, cosine=1 - 1e-12))) == []


@given(VECTORS, st.data())
def test_the_figures_lie_where_they_can(a: NDArray[np.float32], data: st.DataObject) -> None:
    b = data.draw(arrays(np.float32, a.shape, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
    there, back = distance(a, b), distance(b, a)
    assert there.max_abs == back.max_abs >= 0 and there.cosine == pytest.approx(back.cosine) and -1 <= there.cosine <= 1
    assert (there.max_abs == 0) == np.array_equal(a, b)


@given(VECTORS.filter(np.any), st.sampled_from([2.0**-40, 0.5, 3.0, 2.0**40]))
def test_a_cosine_does_not_see_size_and_a_relative_error_scales(a: NDArray[np.float32], factor: float) -> None:
    assert distance(a, a * np.float64(factor)).cosine == pytest.approx(1.0, abs=1e-6)
    assert distance(a, -a).cosine == pytest.approx(-1.0)
    b = a.astype(np.float64)
    scaled, plain = distance(b * factor, (b + 1) * factor), distance(b, b + 1)
    assert scaled.max_rel == pytest.approx(plain.max_rel, rel=1e-6)


@given(VECTORS, st.sampled_from([math.nan, math.inf, -math.inf]), st.booleans(), st.data())
def test_what_is_not_finite_is_beyond_every_tolerance(a: NDArray[np.float32], bad: float, in_reference: bool, data: st.DataObject) -> None:
    b = a.copy()
    b.flat[data.draw(st.integers(0, a.size - 1))] = bad
    found = distance(b, a) if in_reference else distance(a, b)
    assert [name for name, _, _ in beyond(found, STRICT)] == ["max_abs", "max_rel", "cosine"]
    # The same infinity in the same place is no agreement either.
    assert list(beyond(distance(b, b), STRICT))


@pytest.mark.parametrize(
    ("reference", "found", "expected"),
    [
        ([0.0, 0.0], [0.0, 0.0], (0, 0, 1)),
        ([0.0, 0.0], [0.5, 0.0], (0.5, math.inf, 0)),
        ([0.5, 0.0], [0.0, 0.0], (0.5, 1, 0)),
        ([3.0, 4.0], [4.0, 3.0], (1, 0.25, 0.96)),
        ([], [], (0, 0, 1)),
        ([True, False], [True, True], (1, 1, math.sqrt(0.5))),
        (2, 3, (1, 0.5, 1)),
        ([1e-300, 0], [0, 1e-300], (1e-300, 1, 0)),
    ],
)
def test_known_distances(reference: list[float], found: list[float], expected: tuple[float, ...]) -> None:
    assert distance(reference, found) == pytest.approx(expected)


def test_another_shape_is_no_distance() -> None:
    with pytest.raises(ValueError, match=r"its shape is \[2\], the reference's \[1, 2\]"):
        distance([[1, 2]], [1, 2])


def test_what_is_beyond_says_by_how_much() -> None:
    found = distance([3.0, 4.0], [4.0, 3.0])
    assert list(beyond(found, Tolerance(max_abs=0.5))) == [("max_abs", 1.0, "at most 0.5")]
    assert list(beyond(found, Tolerance(max_abs=1, max_rel=0.25, cosine=0.97))) == [("cosine", pytest.approx(0.96), "at least 0.97")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "expected at least one of max_abs, max_rel and cosine"),
        ({"cosine": 1.5}, "cosine is 1.5: expected -1 to 1"),
        ({"max_abs": -1}, "max_abs is -1: expected 0 or more"),
        ({"max_rel": math.nan}, "max_rel is nan: expected a finite number"),
        ({"max_rel": True}, "max_rel is True: expected a finite number"),
    ],
)
def test_a_tolerance_that_makes_no_sense(given: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tolerance(**given)
