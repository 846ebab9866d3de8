"""The parity gate: a converted model against its reference, output by output and sample by sample, with a report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from enginewright.errors import ActionError
from enginewright.model.parity import Distance, beyond, distance
from enginewright.model.reference import Reference, read_reference
from enginewright.model.runtime import outputs_of
from enginewright.model.samples import Sample
from enginewright.model.tolerance import Tolerance
from enginewright.model.user_code import explain, load_function

_SHOWN = 5

METHOD = "ONNX Runtime on one thread, without optimisations"
"""How outputs are computed, in words for the report."""

_REFERENCE_SPOILT = (
    "It does so in the reference already: the network itself gives such a value on this sample. Are its weights whole, and are the samples "
    "such as it is made for?"
)


def judge(
    what: str,
    found: Iterable[Sample],
    reference: Reference,
    gate: Mapping[str, Any],
    metric: Path | None,
    advice: str,
    method: str = METHOD,
) -> Mapping[str, Any]:
    """Measure ``found``, what a model gives for each sample of ``reference``, and return the report: plain values.

    ``gate`` has ``tolerance`` (the fields of a `Tolerance`), and ``metric`` and ``floor`` where ``metric`` is the file that has
    the function of this name: it is called with the outputs of the reference and those found, each a list with a dict for each
    sample, and returns a number that must be at least ``floor``.
    Raises ActionError where anything is beyond tolerance, naming output and sample, with ``advice`` on what to do. The report
    is printed then: it is in the action's log.
    """
    allowed = Tolerance(**gate["tolerance"])
    outputs = list(found)
    problems: list[tuple[float, str]] = []
    measured: dict[str, list[dict[str, Any]]] = {}
    for number, (expected, actual) in enumerate(zip(reference.outputs, outputs, strict=True)):
        if sorted(expected) != sorted(actual):
            raise ActionError(f"{what} gives the outputs {', '.join(sorted(actual))}; the reference has {', '.join(sorted(expected))}")
        for name in expected:
            try:
                figures = distance(expected[name], actual[name])
            except ValueError as error:
                raise ActionError(f"{what}: output {name}, sample {number}: {error}") from None
            measured.setdefault(name, []).append(
                {"sample": number, "shape": list(expected[name].shape), **{key: _plain(value) for key, value in figures._asdict().items()}}
            )
            if math.isnan(figures.cosine) and not math.isfinite(distance(expected[name], expected[name]).max_abs):
                advice = _REFERENCE_SPOILT
            problems += [(_worst_first(figures), f"output {name}, sample {number}: {text}") for text in _problems(figures, allowed)]
    value = None if metric is None else _metric(metric, gate["metric"], reference.outputs, outputs)
    if value is not None and not value >= gate["floor"]:
        problems.append((-math.inf, f"metric {gate['metric']} is {value:.6g}, allowed at least {gate['floor']:g}"))
    report = {
        "format": 1,
        "verdict": "failed" if problems else "passed",
        "tolerance": gate["tolerance"],
        "outputs": measured,
        "metric": None if value is None else {"function": gate["metric"], "value": _plain(value), "floor": gate["floor"]},
        "reference": reference.origin,
        "method": method,
        "versions": _versions(),
    }
    if problems:
        print(text_of(report))
        lines = [text for _, text in sorted(problems, key=lambda each: each[0])]
        more = [f"and {len(lines) - _SHOWN} more, which the log lists"] if len(lines) > _SHOWN else []
        raise ActionError("\n  ".join([f"{what} is not within tolerance of {reference.origin}:", *lines[:_SHOWN], *more]) + f"\n{advice}")
    return report


def prove(
    what: str,
    model: bytes | Path,
    inputs: Mapping[str, Path],
    report: Path,
    gate: Mapping[str, Any],
    advice: str,
    method: str = METHOD,
) -> None:
    """Run ``model`` on the samples of the input ``reference``, judge what it gives, and write the report.

    Raises ActionError as `judge` does, and where ONNX Runtime cannot run the model.
    """
    reference = read_reference(inputs["reference"])
    found = outputs_of(model, reference.samples, what)
    report.write_text(text_of(judge(what, found, reference, gate, inputs.get("metric"), advice, method)), encoding="utf-8")


def text_of(report: Mapping[str, Any]) -> str:
    """A report as the text of its file."""
    return json.dumps(report, indent=2, allow_nan=False) + "\n"


def _problems(figures: Distance, allowed: Tolerance) -> Iterator[str]:
    if math.isnan(figures.cosine):
        yield "holds a NaN or an infinity"
    else:
        for name, value, limit in beyond(figures, allowed):
            yield f"{name.replace('_', ' ')} {value:.6g}, allowed {limit}"


def _worst_first(figures: Distance) -> float:
    return -math.inf if math.isnan(figures.cosine) else figures.cosine


def _metric(source: Path, function: str, expected: Sequence[Sample], found: Sequence[Sample]) -> float:
    metric = load_function(source, function)
    try:
        return float(metric([dict(each) for each in expected], [dict(each) for each in found]))
    except Exception as error:
        raise ActionError(explain(error, source, f"the metric {function}() failed")) from error


def _plain(value: float) -> float | str:
    """A figure for JSON, which has neither NaN nor infinity, without digits that say nothing."""
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)


def _versions() -> Mapping[str, str]:
    import numpy
    import onnx
    import onnxruntime

    return {each.__name__: str(each.__version__) for each in (numpy, onnx, onnxruntime)}
