from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from enginewright import latency_test, tensorrt_engine
from enginewright.errors import ActionError, DeclarationError
from enginewright.graph.action import Action, Artifact
from enginewright.graph.attributes import AttributeProblem
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule
from enginewright.rules.fp16 import fp16
from enginewright.rules.latency_test import _read_baseline, too_slow

Declare = Callable[..., Any]


def known(declare: Declare) -> Mapping[Label, Rule]:
    rules = [
        declare(fp16, name="half", model=":half"),
        declare(tensorrt_engine, name="engine", model=":half", archs=["L4", "H100"]),
        declare(tensorrt_engine, name="swirl", model=":half", archs=["sm_90"], plugins=["lib/swirl.so"]),
        declare(tensorrt_engine, name="timed", model=":half", archs=["A100"], backend="tensorrt"),
    ]
    return {Label("models/x", rule.name): rule for rule in rules}


def action(declare: Declare, **attributes: Any) -> Action:
    rules = known(declare)
    (rule,) = declare(latency_test, name="latency", **attributes).expand("models/x", rules.__getitem__)
    made = rule.action(
        Context(
            Label("models/x", rule.name), lambda label: {each: Artifact(f"build/{label.name}.{each}") for each in ("engine", "sidecar")}
        )
    )
    assert made is not None
    return made


def test_it_runs_where_there_is_a_gpu_for_the_engine(declare: Declare) -> None:
    made = action(declare, engine=":engine_sm_89", batch=8, p50_ms=1, dims={"sequence": 64})
    assert made.requires == {"gpu": "sm_89"} and made.packages == ("tensorrt-rtx",)
    assert made.inputs == {"engine": Artifact("build/engine_sm_89.engine"), "sidecar": Artifact("build/engine_sm_89.sidecar")}
    assert made.params == {
        "p50_ms": 1.0, "p99_ms": None, "tolerance": 0.1, "warmup": 50, "iterations": 500, "dims": {"batch": 8, "sequence": 64},
    }  # fmt: skip
    assert action(declare, engine=":engine", arch="hopper").packages == ("tensorrt",)
    assert action(declare, engine=":timed_sm_80").packages == ("tensorrt",)


def test_the_plugins_of_an_engine_are_loaded_with_it(declare: Declare) -> None:
    made = action(declare, engine=":swirl_sm_90")
    assert made.inputs["plugins/lib/swirl.so"] == Artifact("models/x/lib/swirl.so")


def test_a_baseline_is_an_input(declare: Declare) -> None:
    made = action(declare, engine=":engine_sm_90", baseline="h100.json")
    assert made.inputs["baseline"] == Artifact("models/x/h100.json")


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"batch": 0}, "batch: is 0: expected at least 1"),
        ({"iterations": 0}, "iterations: is 0: expected at least 1"),
        ({"warmup": -1}, "warmup: is -1: expected at least 0"),
        ({"dims": {"sequence": 0}}, "dims['sequence']: is 0: expected at least 1"),
        ({"dims": {"batch": 1}, "batch": 1}, "dims: has a 'batch' beside the attribute batch: give one of the two"),
        ({"p50_ms": 0}, "p50_ms: is 0.0: expected more than 0 milliseconds"),
        ({"p99_ms": float("inf")}, "p99_ms: expected a finite number or None, got inf"),
        ({"tolerance": -0.1}, "tolerance: is -0.1: expected a fraction, as 0.1 for a tenth"),
        ({"engine": ":engine"}, "arch: models/x:engine is one engine for each architecture: name one of :engine_sm_89, :engine_sm_90"),
        ({"engine": ":half"}, "engine: models/x:half is a fp16: name an engine of a tensorrt_engine(), as ':engine_sm_90'"),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Declare, attributes: Mapping[str, Any], problem: str) -> None:
    with pytest.raises((DeclarationError, AttributeProblem)) as caught:
        action(declare, **{"engine": ":engine_sm_90", **attributes})
    assert problem in str(caught.value)


def report(stream: float = 1.0, graph: float = 0.5, **facts: Any) -> dict[str, Any]:
    def times(median: float) -> dict[str, float]:
        return {"p50_ms": median, "p99_ms": 2 * median}

    return {"gpu": "H100", "shapes": {"x": [8, 4]}, "stream": times(stream), "graph": times(graph), **facts}


def test_limits_are_for_the_faster_way() -> None:
    assert too_slow(report(), 0.5, 1.0, None, 0.1) == []
    assert too_slow(report(), 0.4, 0.9, None, 0.1) == [
        "its median is 0.5 ms with CUDA graphs, and p50_ms allows 0.4",
        "its 99th percentile is 1.0 ms with CUDA graphs, and p99_ms allows 0.9",
    ]
    assert too_slow(report(stream=0.2), 0.1, None, None, 0.1) == ["its median is 0.2 ms without CUDA graphs, and p50_ms allows 0.1"]


def test_a_baseline_is_for_both_ways() -> None:
    assert too_slow(report(1.09, 0.54), None, None, report(), 0.1) == []
    assert too_slow(report(1.5, 0.5), None, None, report(), 0.1) == [
        "its median is 1.5 ms without CUDA graphs, 50% over the baseline's 1.0 (allowed: 10%)"
    ]


@pytest.mark.parametrize("other", [{"gpu": "A100"}, {"shapes": {"x": [1, 4]}}])
def test_a_baseline_of_something_else(other: dict[str, Any]) -> None:
    with pytest.raises(ActionError, match=r"the baseline was measured with .*: measure it anew"):
        too_slow(report(), None, None, report(**other), 0.1)


@pytest.mark.parametrize("text", ["", "[]", '{"stream": {"p50_ms": 1}}', '{"stream": {"p50_ms": 1}, "graph": {"p50_ms": "1"}}'])
def test_what_is_no_baseline(tmp_path: Path, text: str) -> None:
    (tmp_path / "h100.json").write_text(text)
    with pytest.raises(ActionError, match=r"baseline: h100\.json is not the report of a latency_test\(\)"):
        _read_baseline(tmp_path / "h100.json")
