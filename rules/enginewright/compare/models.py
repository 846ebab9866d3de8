"""ONNX models: which tensor, node or input differs, and whether both compute the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginewright.compare.content import byte_differences
from enginewright.compare.tensors import array_differences
from enginewright.compare.verdict import NONE, NUMERICAL, Comparison, Finding, differing
from enginewright.errors import ActionError
from enginewright.model.tolerance import Tolerance

if TYPE_CHECKING:
    import onnx

    from enginewright.model.samples import Sample


def compare_onnx(first: Path, second: Path, samples: Sequence[Sample], allowed: Tolerance) -> Comparison:
    """Compare two ONNX files, and what they compute for ``samples``. Raises ValueError where one of them is no ONNX file."""
    findings = list(model_differences(first, second))
    if not findings:
        return differing(NUMERICAL, byte_differences(first, second), "the models are the same; the file is written otherwise")
    if not samples:
        return differing(NONE, findings, "there are no samples to run both on")
    apart = _outputs_apart(first, second, samples, allowed)
    if apart:
        return differing(NONE, [*findings, *apart])
    return differing(NUMERICAL, findings, f"both give the same for {len(samples)} samples, within tolerance")


def model_differences(first: Path, second: Path) -> Iterator[Finding]:
    """What differs between two models, apart from how they are written."""
    import numpy as np
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.numpy_helper import to_array

    try:
        one, other = (onnx.load(path, load_external_data=False) for path in (first, second))
    except DecodeError as error:
        raise ValueError(f"{first.name} is no ONNX file: {error}") from None
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        if getattr(one, name) != getattr(other, name):
            yield Finding(name, f"{getattr(one, name)!r} -> {getattr(other, name)!r}")
    for kind in ("opset_import", "metadata_props", "functions"):
        yield from _lists(kind, getattr(one, kind), getattr(other, kind))
    for kind in ("input", "output", "value_info"):
        yield from _lists(kind, getattr(one.graph, kind), getattr(other.graph, kind))
    yield from _nodes(one.graph.node, other.graph.node)

    def array(tensor: onnx.TensorProto) -> Any:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:  # where it lies in the file of weights, which is an output of its own
            return np.array(str(sorted((each.key, each.value) for each in tensor.external_data)))
        return to_array(tensor)

    tensors = ({tensor.name: partial(array, tensor) for tensor in model.graph.initializer} for model in (one, other))
    yield from array_differences("tensor", *tensors)[0]


def _lists(kind: str, one: Sequence[Any], other: Sequence[Any]) -> Iterator[Finding]:
    for number, (a, b) in enumerate(zip_longest(one, other)):
        if a is None or b is None or a.SerializeToString(deterministic=True) != b.SerializeToString(deterministic=True):
            yield Finding(f"{kind} {_name(a if a is not None else b) or number}", f"{_words(a)} -> {_words(b)}")


def _nodes(one: Sequence[Any], other: Sequence[Any]) -> Iterator[Finding]:
    for number, (a, b) in enumerate(zip_longest(one, other)):
        if a is None or b is None or a.op_type != b.op_type:
            yield Finding(f"node {number}", " -> ".join("nothing" if each is None else f"{each.op_type} {each.name}" for each in (a, b)))
        elif a.SerializeToString(deterministic=True) != b.SerializeToString(deterministic=True):
            unlike = [
                field
                for field in ("name", "input", "output", "attribute", "domain", "doc_string")
                if getattr(a, field) != getattr(b, field)
            ]
            yield Finding(f"node {number}, {a.op_type} {a.name}", f"{', '.join(unlike) or 'its encoding'}: {_words(a)} -> {_words(b)}")


def _name(message: Any) -> str:
    return str(getattr(message, "name", "") or getattr(message, "key", ""))


def _words(message: Any) -> str:
    text = "nothing" if message is None else " ".join(str(message).split())
    return text if len(text) <= 90 else f"{text[:80]}..."


def _outputs_apart(first: Path, second: Path, samples: Sequence[Sample], allowed: Tolerance) -> list[Finding]:
    from enginewright.model.runtime import outputs_of

    try:
        one, other = (list(outputs_of(path, samples, path.name)) for path in (first, second))
    except ActionError as error:
        return [Finding("outputs", str(error))]
    return list(sample_differences(one, other, allowed))


def sample_differences(one: Sequence[Sample], other: Sequence[Sample], allowed: Tolerance) -> Iterator[Finding]:
    """Where the outputs of two models for the same samples are further apart than is allowed."""
    from enginewright.model.parity import beyond, distance

    for number, (expected, found) in enumerate(zip(one, other, strict=True)):
        for name in sorted({*expected, *found}):
            where = f"output {name}, sample {number}"
            if name not in expected or name not in found:
                yield Finding(where, "is there in one of the two only")
                continue
            try:
                figures = distance(expected[name], found[name])
            except ValueError as error:
                yield Finding(where, str(error))
                continue
            for figure, value, limit in beyond(figures, allowed):
                yield Finding(where, f"{figure.replace('_', ' ')} {value:.3g}, allowed {limit}")
