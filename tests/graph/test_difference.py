from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.graph.difference import Difference, differences
from enginewright.graph.key import Material
from materials import MATERIALS

ONE = Material(
    mnemonic="Fp16",
    run="enginewright.rules.precision:convert",
    params={"max_error": 0.01, "keep": ("a", "b"), "dims": {"batch": {"min": 1, "max": 8}}},
    requires={"gpu": "sm_90"},
    inputs={"model": ("build/x/onnx.onnx", "a" * 32), "net": ("x/net.py", "b" * 32)},
    outputs={"onnx": "build/x/fp16.onnx"},
    code={"enginewright.rules.precision": "c" * 32},
    toolchain={"onnx": "1.18.0"},
    platform="linux-x86_64-cpython-3.11.7",
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Material, Material]:
    """Two materials that have some of their parts in common, or all."""
    one, other = draw(MATERIALS), draw(MATERIALS)
    common = draw(st.sets(st.sampled_from([field.name for field in fields(Material)])))
    return one, replace(other, **{name: getattr(one, name) for name in common})


@given(pairs())
def test_there_is_no_difference_if_and_only_if_the_keys_are_equal(pair: tuple[Material, Material]) -> None:
    one, other = pair
    assert (differences(one, other) == []) == (one.key() == other.key())


@given(pairs())
def test_the_other_way_round_old_and_new_are_swapped(pair: tuple[Material, Material]) -> None:
    one, other = pair
    swapped = [(each.kind, each.name, each.new, each.old) for each in differences(other, one)]
    assert [(each.kind, each.name, each.old, each.new) for each in differences(one, other)] == swapped


@given(MATERIALS)
def test_a_material_that_was_written_as_json_is_the_same(one: Material) -> None:
    assert differences(one, Material(**json.loads(json.dumps(asdict(one))))) == []


def changed(**parts: Any) -> list[tuple[str | None, ...]]:
    return [tuple(each)[:4] for each in differences(ONE, replace(ONE, **parts))]


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"max_error": 0.02}, [("max_error", "0.01", "0.02")]),
        ({"max_error": "0.01"}, [("max_error", "0.01", '"0.01"')]),
        ({"keep": ("b", "a")}, [("keep", '["a", "b"]', '["b", "a"]')]),
        ({"new": None}, [("new", None, "null")]),
        ({"dims": {"batch": {"min": 1, "max": 32}}}, [("dims.batch.max", "8", "32")]),
        ({"dims": {"batch": 8}}, [("dims.batch", '{"max": 8, "min": 1}', "8")]),
        ({"dims": {}}, [("dims.batch", '{"max": 8, "min": 1}', None)]),
    ],
)
def test_a_parameter_is_told_by_its_path_and_value(params: Mapping[str, Any], found: list[tuple[str, ...]]) -> None:
    assert changed(params={**ONE.params, **params}) == [("parameter", *each) for each in found]


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0.0, -0.0), (0, False), ("", None)])
def test_values_that_python_or_json_takes_for_equal_are_told_apart(one: Any, other: Any) -> None:
    assert [each.kind for each in differences(replace(ONE, params={"x": one}), replace(ONE, params={"x": other}))] == ["parameter"]


def test_inputs_are_told_by_their_bytes_or_by_their_path() -> None:
    changed = {"model": ("build/x/onnx.onnx", "d" * 32), "net": ("x/other.py", "b" * 32), "more": ("x/more.py", "e" * 32)}
    assert differences(ONE, replace(ONE, inputs=changed)) == [
        Difference("input", "model", "a" * 32, "d" * 32, "build/x/onnx.onnx"),
        Difference("input", "more", None, "e" * 32, "x/more.py"),
        Difference("input path", "net", "x/net.py", "x/other.py", "x/other.py"),
    ]
    assert differences(replace(ONE, inputs=changed), replace(ONE, inputs={}))[1] == Difference("input", "more", "e" * 32, None, "x/more.py")


def test_everything_else_is_told_by_name() -> None:
    assert changed(requires={}) == [("requirement", "gpu", "sm_90", None)]
    assert changed(outputs={"onnx": "build/x/half.onnx"}) == [("output", "onnx", "build/x/fp16.onnx", "build/x/half.onnx")]
    assert changed(code={"enginewright.rules.precision": "d" * 32}) == [("code", "enginewright.rules.precision", "c" * 32, "d" * 32)]
    assert changed(toolchain={"onnx": "1.19.0", "numpy": "2.0"}) == [
        ("toolchain", "numpy", None, "2.0"),
        ("toolchain", "onnx", "1.18.0", "1.19.0"),
    ]
    assert changed(platform="linux-aarch64", mnemonic="Int8", run="m:f", format=7) == [
        ("platform", "", "linux-x86_64-cpython-3.11.7", "linux-aarch64"),
        ("mnemonic", "", "Fp16", "Int8"),
        ("function", "", "enginewright.rules.precision:convert", "m:f"),
        ("format", "", "1", "7"),
    ]
