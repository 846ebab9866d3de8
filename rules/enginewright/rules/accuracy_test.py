"""accuracy_test(): whether an engine, run on a GPU, gives what its model gives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from enginewright.errors import ActionError
from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem, Needs, Source, check_least
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, declaration
from enginewright.rules.engine_run import EngineRun, open_engine, ran

if TYPE_CHECKING:
    import numpy as np

    from enginewright.tensorrt.run import Session


_ARRAY = re.compile(r"(?:(\d+)/)?((?:in|out)/.+)")
"""The name of an array of references: input or output and, where there are samples of several shapes, a number."""


@dataclass(frozen=True, kw_only=True)
class AccuracyTest(EngineRun):
    """``engine``, run on the samples of ``reference``, against the outputs there, as a JSON report.

    ``reference`` is a .npz file of arrays ``in/NAME`` and ``out/NAME``, whose first axis is the samples: a file of the package, or a
    target that provides a ``reference``. The test fails when the cosine of an output and its reference is below ``cosine`` for any
    sample, or an element is further off than ``max_abs``. It is skipped where there is no GPU of the engine's architecture.
    """

    kind: ClassVar[str] = "accuracy_test"

    reference: Annotated[Label, Needs("reference")] | Annotated[str, Source()]
    cosine: float = 0.999
    max_abs: float | None = None

    def check(self) -> None:
        if not -1 <= self.cosine <= 1:
            raise AttributeProblem("cosine", f"is {self.cosine}: expected -1 to 1")
        check_least("max_abs", self.max_abs, 0)

    def run(self, context: Context) -> Action:
        given = self.reference
        reference = context.input(given, "reference") if isinstance(given, Label) else context.source(given)
        params = {"cosine": self.cosine, "max_abs": self.max_abs}
        run = "enginewright.rules.accuracy_test:compare"
        return Action("AccuracyTest", run, {"reference": reference}, {}, params, packages=("numpy",))


accuracy_test = declaration(AccuracyTest)


def compare(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Run the engine on all samples and write the report. Raises ActionError where it is too far off, or cannot be run here."""
    from enginewright.tensorrt import sidecar

    facts = sidecar.read(inputs["sidecar"])
    parts = read_reference(inputs["reference"], facts)
    session = open_engine(inputs, facts)
    report = {
        "format": 1,
        **ran(session),
        "outputs": worst_of((run_all(session, part.inputs), part.outputs) for part in parts),
    }
    text = json.dumps(report, indent=2, sort_keys=True) + "\n"
    print(text)
    if problems := too_far_off(report["outputs"], params["cosine"], params["max_abs"]):
        raise ActionError("\n  ".join(["the engine does not give what its reference has:", *problems]))
    outputs["report"].write_text(text, encoding="utf-8")


class Part(NamedTuple):
    """Samples whose tensors have the same shapes: inputs and outputs by name, each with the samples along its first axis."""

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


def read_reference(path: Path, facts: Mapping[str, Any]) -> list[Part]:
    """What is in a .npz file of references. Raises ActionError where it is none, or does not fit the engine."""
    import numpy as np

    numbered: dict[int, dict[str, np.ndarray]] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                if found := _ARRAY.fullmatch(name):
                    numbered.setdefault(int(found[1] or 0), {})[found[2]] = file[name]
    except (ValueError, OSError, AttributeError) as error:
        raise ActionError(f"reference: {path.name} is no .npz file of arrays ({error})") from None
    if not numbered:
        raise ActionError(f"reference: {path.name} has no arrays: expected in/NAME and out/NAME, for each input and output")
    return [_part(f"reference: {path.name}", arrays, facts["io"]) for _, arrays in sorted(numbered.items())]


def _part(where: str, arrays: Mapping[str, np.ndarray], io: Sequence[Mapping[str, Any]]) -> Part:
    there = ", ".join(sorted(arrays))
    inputs = [tensor["name"] for tensor in io if tensor["mode"] == "input"]
    outputs = [tensor["name"] for tensor in io if tensor["mode"] == "output" and f"out/{tensor['name']}" in arrays]
    for name in inputs:
        if f"in/{name}" not in arrays:
            raise ActionError(f"{where} has no array in/{name} (it has: {there})")
    if not outputs:
        raise ActionError(f"{where} has no array out/NAME for any output of the engine (it has: {there})")
    part = Part({name: arrays[f"in/{name}"] for name in inputs}, {name: arrays[f"out/{name}"] for name in outputs})
    counts = {name: len(array) if array.ndim else 0 for given in part for name, array in given.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ActionError(f"{where}: its arrays must have the same number of samples, at least one ({shown})")
    return part


def run_all(session: Session, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs for all samples, run as many at a time as the engine takes."""
    import numpy as np

    dtypes = {tensor["name"]: tensor["dtype"] for tensor in session.facts["io"]}
    samples, at_once = len(next(iter(given.values()))), samples_at_once(session.facts, given)
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, samples, at_once):
        inputs = {name: array[start : start + at_once] for name, array in given.items()}
        contents = {name: to_bytes(array, dtypes[name]) for name, array in inputs.items()}
        for name, (content, shape) in session.run(contents, {name: array.shape for name, array in inputs.items()}).items():
            parts.setdefault(name, []).append(from_bytes(content, dtypes[name]).reshape(shape))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def samples_at_once(facts: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> int:
    """How many samples one run takes: what the first dimension of the inputs is, or may be at most in every profile.

    Raises ActionError where the samples cannot be split so.
    """
    samples, most, least = len(next(iter(given.values()))), len(next(iter(given.values()))), 1
    for tensor in facts["io"]:
        if tensor["mode"] == "input" and tensor["shape"] and not isinstance(tensor["shape"][0], str):
            most = least = tensor["shape"][0]
    for profile in facts["profiles"]:
        for small, _, large in profile.values():
            most, least = min(most, large[0]), max(least, small[0])
    if most < least or 0 < samples % most < least:
        raise ActionError(f"reference: the engine takes {least} to {most} samples at a time, and there are {samples}")
    return most


def to_bytes(array: np.ndarray, dtype: str) -> bytes:
    """An array as an engine takes it, in row-major order."""
    import numpy as np

    if dtype != "bfloat16":
        return np.ascontiguousarray(array, dtype=np.dtype(dtype)).tobytes()
    # The upper half of a float32, rounded to nearest, ties to even.
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()


def from_bytes(content: bytes, dtype: str) -> np.ndarray:
    """What an engine gave, without its shape."""
    import numpy as np

    if dtype != "bfloat16":
        return np.frombuffer(content, dtype=np.dtype(dtype))
    return (np.frombuffer(content, dtype=np.uint16).astype(np.uint32) << 16).view(np.float32)


def worst_of(results: Iterable[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]) -> dict[str, dict[str, Any]]:
    """For each output, over all that was found and expected of it, the worst cosine, the largest difference, and in which sample."""
    worst: dict[str, dict[str, Any]] = {}
    first = 0
    for found, expected in results:
        for name, array in expected.items():
            here = differences(found[name], array, first)
            known = worst.setdefault(name, {**here, "samples": 0})
            known["samples"] += here["samples"]
            if here["cosine"] < known["cosine"]:
                known |= {"cosine": here["cosine"], "cosine_sample": here["cosine_sample"]}
            if here["max_abs"] is None or (known["max_abs"] is not None and here["max_abs"] > known["max_abs"]):
                known |= {"max_abs": here["max_abs"], "max_abs_sample": here["max_abs_sample"]}
        first += len(next(iter(expected.values())))
    return worst


def differences(found: np.ndarray, expected: np.ndarray, first: int) -> dict[str, Any]:
    """The worst cosine and the largest difference of samples, the first of which is number ``first``, and in which each is.

    Raises ActionError where the shapes differ.
    """
    import numpy as np

    if found.shape != expected.shape:
        raise ActionError(f"the engine gives an output of shape {found.shape}, and the reference has {expected.shape}")
    ours, theirs = (each.reshape(len(each), -1).astype(np.float64) for each in (found, expected))
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    same = (ours == theirs).all(axis=1)
    with np.errstate(all="ignore"):
        cosines = np.where(same, 1.0, (ours * theirs).sum(axis=1) / np.where(norms, norms, np.nan))
        largest = np.abs(ours - theirs).max(axis=1)
    # What is not a number is worse than any number.
    cosines, largest = np.where(np.isfinite(cosines), cosines, -1.0), np.where(np.isfinite(largest), largest, np.inf)
    return {
        "samples": len(ours),
        "cosine": float(cosines.min()),
        "cosine_sample": first + int(cosines.argmin()),
        "max_abs": float(largest.max()) if np.isfinite(largest.max()) else None,
        "max_abs_sample": first + int(largest.argmax()),
    }


def too_far_off(outputs: Mapping[str, Mapping[str, Any]], cosine: float, max_abs: float | None) -> list[str]:
    """Which outputs do not keep the limits, a sentence each."""
    problems = []
    for name, worst in outputs.items():
        if worst["cosine"] < cosine or worst["max_abs"] is None:
            problems.append(
                f"output {name} has cosine {worst['cosine']:.6f} in sample {worst['cosine_sample']}: at least {cosine} is asked for"
            )
        if max_abs is not None and (worst["max_abs"] is None or worst["max_abs"] > max_abs):
            off = "not a number" if worst["max_abs"] is None else f"off by {worst['max_abs']:.3g}"
            problems.append(f"output {name} is {off} in sample {worst['max_abs_sample']}: at most {max_abs} is allowed")
    return problems
