from __future__ import annotations

from typing import Any

import pytest

from enginewright.graph.attributes import AttributeProblem
from enginewright.model.shapes import check_ranges, tensor


def test_a_tensor_has_a_type_and_a_shape() -> None:
    spec = tensor("float32", ["batch", 3, "batch", "width"])
    assert spec.shape == ("batch", 3, "batch", "width")
    assert spec.names == ("batch", "batch", "width")


@pytest.mark.parametrize(
    ("dtype", "shape", "message"),
    [
        ("float", (1,), "'float' is not an element type \\(did you mean 'float"),
        ("complex64", (1,), "'complex64' is not an element type"),
        (None, (1,), "None is not an element type"),
        ("int64", (0,), "0 in shape is not a dimension: give a size from 1 to 2147483647, or a name"),
        ("int64", (True,), "True in shape is not a dimension"),
        ("int64", ("a b",), "'a b' in shape is not a dimension"),
        ("int64", (2.0,), "2.0 in shape is not a dimension"),
        ("int64", "batch", "shape is 'batch': expected a list"),
    ],
)
def test_what_is_no_tensor(dtype: Any, shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tensor(dtype, shape)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, 1, 2), "dims['batch']: min is 0: the smallest size a dimension can have is 1"),
        ((4, 2, 8), "dims['batch']: (4, 2, 8) is out of order: expected (min, opt, max)"),
        ((1, 2, 2**40), "dims['batch']: max is 1099511627776: the largest size a dimension can have is 2147483647"),
        ((1, 8, 4), "dims['batch']: (1, 8, 4) is out of order"),
    ],
)
def test_a_range_out_of_order(given: tuple[int, int, int], message: str) -> None:
    with pytest.raises(AttributeProblem) as caught:
        check_ranges("dims", {"batch": given})
    assert str(caught.value).startswith(message)


def test_a_range_in_order() -> None:
    check_ranges("dims", {"batch": (1, 1, 1), "width": (1, 8, 32)})
