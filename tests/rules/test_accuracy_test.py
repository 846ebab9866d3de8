from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enginewright import accuracy_test, tensorrt_engine
from enginewright.errors import ActionError, DeclarationError
from enginewright.graph.action import Action, Artifact
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule
from enginewright.rules.accuracy_test import from_bytes, read_reference, samples_at_once, to_bytes, too_far_off, worst_of
from enginewright.rules.fp16 import fp16

Declare = Callable[..., Any]
X, Y = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
FACTS: dict[str, Any] = {
    "io": [
        {"name": "x", "mode": "input", "dtype": "float16", "shape": ["batch", 3]},
        {"name": "y", "mode": "output", "dtype": "float16", "shape": ["batch", 2]},
    ],
    "profiles": [{"x": [[1, 3], [2, 3], [8, 3]]}],
}


def action(declare: Declare, **attributes: Any) -> Action:
    rules: dict[Label, Rule] = {
        Label("models/x", "half"): declare(fp16, name="half", model=":half"),
        Label("models/x", "engine"): declare(tensorrt_engine, name="engine", model=":half", archs=["sm_90"]),
    }
    (rule,) = declare(accuracy_test, name="accuracy", engine=":engine_sm_90", **attributes).expand("models/x", rules.__getitem__)
    outputs = ("engine", "sidecar", "reference")
    made = rule.action(
        Context(Label("models/x", rule.name), lambda label: {each: Artifact(f"build/{label.name}.{each}") for each in outputs})
    )
    assert made is not None
    return made


def test_it_reads_a_file_or_what_a_model_provides(declare: Declare) -> None:
    made = action(declare, reference="samples.npz", max_abs=0.1)
    assert made.inputs["reference"] == Artifact("models/x/samples.npz")
    assert made.params == {"cosine": 0.999, "max_abs": 0.1}
    assert made.requires == {"gpu": "sm_90"} and made.packages == ("tensorrt", "numpy")
    assert action(declare, reference=":onnx").inputs["reference"] == Artifact("build/onnx.reference")


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"cosine": 1.1}, "cosine: is 1.1: expected -1 to 1"),
        ({"max_abs": -1}, "max_abs: is -1.0: expected at least 0"),
        ({"reference": 5}, "reference: expected the label of a target that provides 'reference' or a file of the package"),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Declare, attributes: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        action(declare, **{"reference": "samples.npz", **attributes})
    assert problem in str(caught.value)


def test_a_reference_is_samples_of_one_shape_or_of_several(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", **{"in/x": X, "out/y": Y})
    (part,) = read_reference(tmp_path / "one.npz", FACTS)
    assert part.inputs["x"].shape == (4, 3) and part.outputs["y"].shape == (4, 2)
    np.savez(tmp_path / "two.npz", **{"10/in/x": X, "10/out/y": Y, "2/in/x": X[:1], "2/out/y": Y[:1]})
    assert [len(part.inputs["x"]) for part in read_reference(tmp_path / "two.npz", FACTS)] == [1, 4]


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"x": X}, "has no arrays: expected in/NAME and out/NAME"),
        ({"in/x": X}, "has no array out/NAME for any output of the engine (it has: in/x)"),
        ({"in/z": X, "out/y": Y}, "has no array in/x (it has: in/z, out/y)"),
        ({"in/x": X, "out/y": Y[:3]}, "its arrays must have the same number of samples, at least one (x 4, y 3)"),
        ({"in/x": X[:0], "out/y": Y[:0]}, "its arrays must have the same number of samples, at least one (x 0, y 0)"),
        ({"in/x": X, "out/y": np.array([None])}, "is no .npz file of arrays"),
    ],
)
def test_a_reference_that_does_not_fit(tmp_path: Path, arrays: dict[str, Any], problem: str) -> None:
    np.savez(tmp_path / "samples.npz", **arrays)
    with pytest.raises(ActionError) as caught:
        read_reference(tmp_path / "samples.npz", FACTS)
    assert str(caught.value).startswith("reference: samples.npz") and problem in str(caught.value)


def test_text_is_no_reference(tmp_path: Path) -> None:
    (tmp_path / "samples.npz").write_text("text")
    with pytest.raises(ActionError, match=r"reference: samples\.npz is no \.npz file of arrays"):
        read_reference(tmp_path / "samples.npz", FACTS)


def test_as_many_samples_at_a_time_as_the_engine_takes() -> None:
    assert samples_at_once(FACTS, {"x": np.zeros((20, 3))}) == 8
    assert samples_at_once(FACTS, {"x": np.zeros((3, 3))}) == 3
    static = {"io": [{**FACTS["io"][0], "shape": [4, 3]}], "profiles": []}
    assert samples_at_once(static, {"x": np.zeros((8, 3))}) == 4
    with pytest.raises(ActionError, match="the engine takes 4 to 4 samples at a time, and there are 6"):
        samples_at_once(static, {"x": np.zeros((6, 3))})


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "int64", "bool"])
def test_arrays_go_there_and_back(dtype: str) -> None:
    array = np.array([0, 1, 0, 1])
    assert from_bytes(to_bytes(array, dtype), dtype).tolist() == array.tolist()


def test_bfloat16_is_the_nearest() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, -3.0e38, 0.1], np.float32)  # the second and third are halfway between two
    assert from_bytes(to_bytes(values, "bfloat16"), "bfloat16").tolist() == pytest.approx([1.0, 1.0, 1.015625, -3.0e38, 0.1], rel=2**-8)
    assert from_bytes(to_bytes(values[:3], "bfloat16"), "bfloat16").tolist() == [1.0, 1.0, 1.015625]


def test_the_worst_sample_is_named() -> None:
    off = Y.copy()
    off[2, 0] = 1.5
    worst = worst_of([({"y": Y[:1]}, {"y": Y[:1]}), ({"y": off}, {"y": Y})])
    assert worst["y"]["samples"] == 5 and worst["y"]["max_abs"] == 0.5
    assert worst["y"]["max_abs_sample"] == worst["y"]["cosine_sample"] == 3
    assert too_far_off(worst, 0.9, 0.5) == []
    assert too_far_off(worst, 0.999, 0.1) == [
        f"output y has cosine {worst['y']['cosine']:.6f} in sample 3: at least 0.999 is asked for",
        "output y is off by 0.5 in sample 3: at most 0.1 is allowed",
    ]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_is_too_far_off(bad: float) -> None:
    off = Y.copy()
    off[1, 1] = bad
    worst = worst_of([({"y": off}, {"y": Y})])
    assert worst["y"]["max_abs"] is None and worst["y"]["max_abs_sample"] == 1
    assert len(too_far_off(worst, 0.999, 100.0)) == 2


def test_an_output_of_another_shape() -> None:
    with pytest.raises(ActionError, match=r"the engine gives an output of shape \(4, 3\), and the reference has \(4, 2\)"):
        worst_of([({"y": X}, {"y": Y})])
