"""How far one array of numbers is from another: the measure of every parity gate. Pure arithmetic, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from enginewright.model.tolerance import Tolerance


class Distance(NamedTuple):
    """``max_abs``: the largest difference of two elements. ``max_rel``: that, as a part of the largest magnitude in the reference.

    ``cosine``: the cosine of the angle between both as vectors; 1 where both are zero, 0 where one is.
    All three are NaN where either holds a NaN or an infinity: no tolerance takes that.
    """

    max_abs: float
    max_rel: float
    cosine: float


def distance(reference: ArrayLike, found: ArrayLike) -> Distance:
    """How far ``found`` is from ``reference``. Raises ValueError where their shapes differ."""
    expected, actual = (np.asarray(each).astype(np.float64) for each in (reference, found))
    if expected.shape != actual.shape:
        raise ValueError(f"its shape is {list(actual.shape)}, the reference's {list(expected.shape)}")
    if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        return Distance(math.nan, math.nan, math.nan)
    largest = _largest(expected)
    apart = _largest(expected - actual)
    return Distance(apart, apart / largest if largest else (math.inf if apart else 0.0), _cosine(expected, actual))


def beyond(found: Distance, allowed: Tolerance) -> Iterator[tuple[str, float, str]]:
    """What of a distance is not within tolerance: the figure's name, its value, and what is allowed, in words."""
    for name, limit in allowed.plain().items():
        value: float = getattr(found, name)
        # Written so that a NaN is beyond every limit.
        if limit is not None and not (value >= limit if name == "cosine" else value <= limit):
            yield name, value, f"{'at least' if name == 'cosine' else 'at most'} {limit:g}"


def _largest(values: NDArray[Any]) -> float:
    return float(np.abs(values).max()) if values.size else 0.0


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    # Each divided by its largest element: squares neither overflow nor vanish.
    sizes = _largest(a), _largest(b)
    if not all(sizes):
        return 0.0 if any(sizes) else 1.0
    x, y = (a / sizes[0]).ravel(), (b / sizes[1]).ravel()
    return float(np.clip(x @ y / math.sqrt((x @ x) * (y @ y)), -1.0, 1.0))
