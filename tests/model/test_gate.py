from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enginewright.errors import ActionError
from enginewright.model.gate import judge, text_of
from enginewright.model.reference import Reference
from enginewright.model.tolerance import Tolerance

ONE = {"y": np.array([[3.0, 4.0]], np.float32)}
REFERENCE = Reference("PyTorch 2", [{"x": np.zeros((1, 2), np.float32)}] * 3, [ONE] * 3)
GATE: Mapping[str, Any] = {"tolerance": Tolerance(cosine=0.999).plain(), "metric": None, "floor": None}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("metrics", None)


def outputs(*values: list[float]) -> list[dict[str, Any]]:
    return [{"y": np.array([each], np.float32)} for each in values]


def refusal(found: list[dict[str, Any]], source: Path | None = None, **gate: Any) -> str:
    with pytest.raises(ActionError) as caught:
        judge("the float16 model", found, REFERENCE, {**GATE, **gate}, source, "Keep some in float32.")
    return str(caught.value)


def metric(line: str) -> Path:
    Path("metrics.py").write_text(f"def share(reference, found):\n    {line}\n")
    return Path("metrics.py").absolute()


def test_a_report_has_every_output_and_sample() -> None:
    report = judge("m", outputs([3, 4], [3, 4.0001], [3, 4]), REFERENCE, GATE, None, "")
    assert report["verdict"] == "passed" and report["reference"] == "PyTorch 2" and report["tolerance"]["cosine"] == 0.999
    assert [each["sample"] for each in report["outputs"]["y"]] == [0, 1, 2]
    assert report["outputs"]["y"][1]["max_abs"] == pytest.approx(1e-4, rel=1e-2) and report["outputs"]["y"][1]["shape"] == [1, 2]
    assert json.loads(text_of(report)) == report
    assert report["versions"].keys() == {"numpy", "onnx", "onnxruntime"}


def test_a_failure_names_output_sample_and_figures_the_worst_first(capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(outputs([3, 4], [4, 3], [-3, -4]))
    assert message == (
        "the float16 model is not within tolerance of PyTorch 2:\n"
        "  output y, sample 2: cosine -1, allowed at least 0.999\n"
        "  output y, sample 1: cosine 0.96, allowed at least 0.999\n"
        "Keep some in float32."
    )
    assert json.loads(capsys.readouterr().out)["verdict"] == "failed"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_none_fails_whatever_is_tolerated(bad: float, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(outputs([3, 4], [3, bad], [3, 4]), tolerance=Tolerance(cosine=-1).plain())
    assert "output y, sample 1: holds a NaN or an infinity\n" in message
    assert json.loads(capsys.readouterr().out)["outputs"]["y"][1]["cosine"] == "nan"


def test_a_number_that_is_none_in_the_reference_is_not_the_models_fault() -> None:
    reference = Reference("PyTorch 2", REFERENCE.samples, list(outputs([3, 4], [3, np.nan], [3, 4])))
    with pytest.raises(
        ActionError, match=r"sample 1: holds a NaN or an infinity\nIt does so in the reference already: the network itself "
    ):
        judge("m", outputs([3, 4], [3, np.nan], [3, 4]), reference, GATE, None, "Keep some in float32.")


def test_many_failures_are_counted() -> None:
    reference = Reference("PyTorch 2", list(REFERENCE.samples) * 3, [ONE] * 9)
    with pytest.raises(ActionError, match="\n  and 4 more, which the log lists\n"):
        judge("m", outputs([4, 3]) * 9, reference, GATE, None, "")


def test_other_outputs_and_other_shapes() -> None:
    assert "gives the outputs z; the reference has y" in refusal([{"z": np.ones((1, 2))}] * 3)
    assert "output y, sample 0: its shape is [2], the reference's [1, 2]" in refusal([{"y": np.ones(2)}] * 3)


def test_a_metric_has_a_floor() -> None:
    share = metric("return sum(a['y'].argmax() == b['y'].argmax() for a, b in zip(reference, found)) / len(found)")
    loose = {"tolerance": Tolerance(cosine=-1).plain(), "metric": "share"}
    report = judge("m", outputs([3, 4], [4, 3], [3, 4]), REFERENCE, {**loose, "floor": 0.6}, share, "")
    assert report["metric"] == {"function": "share", "value": 0.666667, "floor": 0.6}
    assert "metric share is 0.666667, allowed at least 0.7" in refusal(outputs([3, 4], [4, 3], [3, 4]), share, **loose, floor=0.7)


def test_a_metric_that_is_no_number_or_fails() -> None:
    loose = {"metric": "share", "floor": -1.0}
    assert "metric share is nan, allowed at least -1" in refusal(outputs([3, 4]) * 3, metric("return float('nan')"), **loose)
    assert "the metric share() failed:\n  metrics.py:2, in share: " in refusal(outputs([3, 4]) * 3, metric("return found[7]"), **loose)
