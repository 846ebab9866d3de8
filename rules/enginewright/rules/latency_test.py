"""latency_test(): how long an engine takes on a GPU, with limits that it must keep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from enginewright.errors import ActionError
from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem, Source, check_least
from enginewright.graph.rule import Context, declaration
from enginewright.rules.engine_run import EngineRun, open_engine, ran

_MODES = {"stream": "without CUDA graphs", "graph": "with CUDA graphs"}


@dataclass(frozen=True, kw_only=True)
class LatencyTest(EngineRun):
    """The time that the GPU takes for one run of ``engine``, launched kernel by kernel and as a CUDA graph, as a JSON report.

    ``batch`` is the size of the dimension of that name, ``dims`` those of others; the rest have the usual size of the engine's
    profile. The test fails when the median of the faster way is over ``p50_ms`` or its 99th percentile over ``p99_ms``, both in
    milliseconds, or a median is more than ``tolerance``, a fraction, over that of ``baseline``, an earlier report of the same GPU.
    It is skipped where there is no GPU of the engine's architecture. ``warmup`` runs are not counted, ``iterations`` are.
    """

    kind: ClassVar[str] = "latency_test"

    batch: int | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    p50_ms: float | None = None
    p99_ms: float | None = None
    baseline: Annotated[str, Source()] | None = None
    tolerance: float = 0.1
    warmup: int = 50
    iterations: int = 500

    def check(self) -> None:
        for attribute, value, least in (("batch", self.batch, 1), ("warmup", self.warmup, 0), ("iterations", self.iterations, 1)):
            check_least(attribute, value, least)
        for dim, size in self.dims.items():
            check_least(f"dims[{dim!r}]", size, 1)
        if self.batch is not None and "batch" in self.dims:
            raise AttributeProblem("dims", "has a 'batch' beside the attribute batch: give one of the two")
        for attribute, limit in (("p50_ms", self.p50_ms), ("p99_ms", self.p99_ms)):
            if limit is not None and limit <= 0:
                raise AttributeProblem(attribute, f"is {limit}: expected more than 0 milliseconds")
        if self.tolerance < 0:
            raise AttributeProblem("tolerance", f"is {self.tolerance}: expected a fraction, as 0.1 for a tenth")

    def run(self, context: Context) -> Action:
        params = {name: getattr(self, name) for name in ("p50_ms", "p99_ms", "tolerance", "warmup", "iterations")}
        dims = {**self.dims, **({} if self.batch is None else {"batch": self.batch})}
        baseline = {} if self.baseline is None else {"baseline": context.source(self.baseline)}
        return Action("LatencyTest", "enginewright.rules.latency_test:measure", baseline, {}, {**params, "dims": dims})


latency_test = declaration(LatencyTest)


def measure(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Run the engine and write the report. Raises ActionError where it is too slow, or cannot be run here."""
    from enginewright.tensorrt import run, sidecar

    facts = sidecar.read(inputs["sidecar"])
    shapes = run.shapes_of(facts, params["dims"])
    session = open_engine(inputs, facts)
    report = {
        "format": 1,
        **ran(session),
        "shapes": shapes,
        "warmup": params["warmup"],
        "iterations": params["iterations"],
        **{mode: run.summary(session.time(shapes, params["warmup"], params["iterations"], mode == "graph")) for mode in _MODES},
    }
    text = json.dumps(report, indent=2, sort_keys=True) + "\n"
    print(text)
    baseline = _read_baseline(inputs["baseline"]) if "baseline" in inputs else None
    if problems := too_slow(report, params["p50_ms"], params["p99_ms"], baseline, params["tolerance"]):
        raise ActionError("\n  ".join(["the engine is too slow:", *problems]))
    outputs["report"].write_text(text, encoding="utf-8")


def too_slow(
    report: Mapping[str, Any], p50_ms: float | None, p99_ms: float | None, baseline: Mapping[str, Any] | None, tolerance: float
) -> Sequence[str]:
    """Which limits a report does not keep, a sentence each. Raises ActionError where the baseline is of something else."""
    mode = min(_MODES, key=lambda mode: report[mode]["p50_ms"])
    problems = [
        f"its {what} is {report[mode][name]} ms {_MODES[mode]}, and {name} allows {limit}"
        for name, what, limit in (("p50_ms", "median", p50_ms), ("p99_ms", "99th percentile", p99_ms))
        if limit is not None and report[mode][name] > limit
    ]
    for name in ("gpu", "shapes") if baseline is not None else ():
        if baseline is not None and baseline[name] != report[name]:
            raise ActionError(f"the baseline was measured with {name} {baseline[name]!r}, and this with {report[name]!r}: measure it anew")
    for mode in _MODES if baseline is not None else ():
        before, now = baseline[mode]["p50_ms"] if baseline else 0.0, report[mode]["p50_ms"]
        if now > before * (1 + tolerance):
            problems.append(
                f"its median is {now} ms {_MODES[mode]}, {now / before - 1:.0%} over the baseline's {before} (allowed: {tolerance:.0%})"
            )
    return problems


def _read_baseline(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_bytes())
        if all(isinstance(report[mode]["p50_ms"], (int, float)) for mode in _MODES) and {"gpu", "shapes"} <= set(report):
            return dict(report)
    except (ValueError, KeyError, TypeError):
        pass
    raise ActionError(f"baseline: {path.name} is not the report of a latency_test(): copy one from below build/")
