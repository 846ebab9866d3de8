"""How far a converted model may be from its reference, as a BUILD.py declares it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Tolerance:
    """What is allowed of each output and sample; what is None is measured, and not judged. See `enginewright.model.parity`.

    ``max_abs`` is in the output's own unit, ``max_rel`` a part of the largest value of the reference, ``cosine`` the least
    similarity, -1 to 1. Raises ValueError, with a sentence, for what makes no sense, and where nothing at all is judged.
    """

    max_abs: float | None = None
    max_rel: float | None = None
    cosine: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if not given:
            raise ValueError("tolerance(): expected at least one of max_abs, max_rel and cosine")
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"tolerance(): {name} is {value!r}: expected a finite number")
            if name == "cosine" and not -1 <= value <= 1:
                raise ValueError(f"tolerance(): cosine is {value}: expected -1 to 1")
            if name != "cosine" and value < 0:
                raise ValueError(f"tolerance(): {name} is {value}: expected 0 or more")

    def plain(self) -> Mapping[str, float | None]:
        """It as an action's parameter."""
        return {name: None if value is None else float(value) for name, value in asdict(self).items()}


def tolerance(*, max_abs: float | None = None, max_rel: float | None = None, cosine: float | None = None) -> Tolerance:
    """What a model may lose, as in ``tolerance(max_abs=0.05, cosine=0.999)``. Raises ValueError; see `Tolerance`."""
    return Tolerance(max_abs, max_rel, cosine)
