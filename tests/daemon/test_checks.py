from __future__ import annotations

from typing import Any

import pytest

from enginewright.daemon.checks import differs


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"class": 698}, {"class": 698, "top": []}),
        ({}, {"any": 1}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}]}),
        (0.3333333, 1 / 3),
        ([None, True, "x"], [None, True, "x"]),
    ],
)
def test_what_is_expected_is_there(expected: Any, found: Any) -> None:
    assert differs(expected, found) == ""


@pytest.mark.parametrize(
    ("expected", "found", "problem"),
    [
        ({"class": 698}, {"class": 1}, "expected 698 at .class, got 1"),
        ({"class": 698}, {}, "expected the answer to have 'class'"),
        ({"class": 698}, [], "expected an object at the answer"),
        ({"a": [1, 2]}, {"a": [1]}, "expected a list of 2 at .a"),
        ({"a": [{"b": 1}]}, {"a": [{"b": "1"}]}, "expected 1 at .a[0].b, got '1'"),
        (1, True, "expected 1 at the answer, got True"),
        (0.5, 0.51, "expected 0.5 at the answer, got 0.51"),
        (None, 0, "expected None at the answer, got 0"),
    ],
)
def test_the_first_difference_is_named_with_its_place(expected: Any, found: Any, problem: str) -> None:
    assert differs(expected, found) == problem
