"""Tensors as a BUILD.py declares them: an element type and a shape whose dimensions are numbers or names.

A named dimension is a dynamic one. Its range (min, opt, max) is what an export must accept and what a TensorRT
optimisation profile is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from enginewright.graph.attributes import AttributeProblem, did_you_mean

Range: TypeAlias = tuple[int, int, int]
"""The smallest, the most usual and the largest size of a dimension."""

DTYPES = ("bfloat16", "bool", "float16", "float32", "int8", "int32", "int64", "uint8")
"""The element types that PyTorch, ONNX and TensorRT all have, by PyTorch's names."""

_LARGEST = 2**31 - 1
"""Of a dimension, as TensorRT has it."""


@dataclass(frozen=True)
class TensorSpec:
    """The type of a tensor: ``dtype`` is one of `DTYPES`; ``shape`` holds sizes (at least 1) and names of dimensions.

    Raises ValueError, with a sentence, for anything else.
    """

    dtype: str
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"tensor(): {self.dtype!r} is not an element type{did_you_mean(str(self.dtype), DTYPES)}")
        for dim in self.shape:
            if isinstance(dim, str) and dim.isidentifier():
                continue
            if isinstance(dim, int) and not isinstance(dim, bool) and 1 <= dim <= _LARGEST:
                continue
            raise ValueError(f"tensor(): {dim!r} in shape is not a dimension: give a size from 1 to {_LARGEST}, or a name such as 'batch'")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its dynamic dimensions, in order."""
        return tuple(dim for dim in self.shape if isinstance(dim, str))


def tensor(dtype: str, shape: tuple[int | str, ...] | list[int | str]) -> TensorSpec:
    """A tensor's type, as in ``tensor("float32", ("batch", 3, 224, 224))``. Raises ValueError; see `TensorSpec`."""
    if not isinstance(shape, (tuple, list)):
        raise ValueError(f"tensor(): shape is {shape!r}: expected a list of sizes and names, as ('batch', 3, 224, 224)")
    return TensorSpec(dtype, tuple(shape))


def check_ranges(attribute: str, dims: Mapping[str, Range]) -> None:
    """Raise AttributeProblem unless every range of ``dims`` has 1 <= min <= opt <= max."""
    for name, (least, usual, most) in dims.items():
        where = f"{attribute}[{name!r}]"
        if least < 1:
            raise AttributeProblem(where, f"min is {least}: the smallest size a dimension can have is 1")
        if not least <= usual <= most:
            raise AttributeProblem(where, f"({least}, {usual}, {most}) is out of order: expected (min, opt, max), each at most the next")
        if most > _LARGEST:
            raise AttributeProblem(where, f"max is {most}: the largest size a dimension can have is {_LARGEST}")
