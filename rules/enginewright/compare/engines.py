"""TensorRT engines: the header, the weights and the rest; and what both give, where there is a GPU for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enginewright.compare.content import byte_differences
from enginewright.compare.models import sample_differences
from enginewright.compare.verdict import NONE, NUMERICAL, Comparison, Finding, differing, within
from enginewright.errors import ActionError
from enginewright.model.tolerance import Tolerance
from enginewright.tensorrt import header

if TYPE_CHECKING:
    from enginewright.model.samples import Sample

IMPLIED = ("engine.sha256", "engine.size", "device_memory")
"""What of a sidecar follows from the bytes of its engine."""


def compare_engines(
    first: tuple[Path, Path | None], second: tuple[Path, Path | None], samples: Sequence[Sample], allowed: Tolerance, gpus: Sequence[str]
) -> Comparison:
    """Compare two engines, each given with its sidecar if it has one.

    Where the machine has a GPU that they were built for, both are run on ``samples``. Elsewhere those of TensorRT-RTX are
    `NUMERICAL` when all that their headers tell is the same and all bytes of weights are; nothing can be said of those of TensorRT.
    """
    findings = list(_sections(first[0], second[0]))
    facts = [_facts(each[1]) for each in (first, second)]
    if samples and facts[0] and facts[1] and all(each["arch"] in gpus for each in facts if each):
        apart = _run_both(first, second, samples, allowed)
        if apart:
            return differing(NONE, [*findings, *apart])
        return differing(NUMERICAL, findings, f"both give the same on the GPU for {len(samples)} samples, within tolerance")
    heads = header.read(first[0]), header.read(second[0])
    if heads[0] is None or heads[1] is None:
        return differing(NONE, findings, "there is no GPU here to run them on")
    if heads[0]._replace(length=0) == heads[1]._replace(length=0) and not any(each.where.startswith("weights") for each in findings):
        return differing(NUMERICAL, findings, "structure and weights are the same; not run, as there is no GPU for it here")
    return differing(NONE, findings)


def _sections(first: Path, second: Path) -> Iterator[Finding]:
    heads = header.read(first), header.read(second)
    if heads[0] is None or heads[1] is None:
        yield from byte_differences(first, second)
        return
    for name in header.Header._fields:
        a, b = (getattr(head, name) for head in heads)
        if a != b:
            yield Finding(f"header, {name.replace('_', ' ')}", f"{a} -> {b}")
    # The weights are at the end, before them what is computed with them.
    sizes = [path.stat().st_size for path in (first, second)]
    starts = [size - head.weight_bytes for size, head in zip(sizes, heads) if head]
    yield from within("plan", byte_differences(first, second, header.SIZE, min(starts)))
    if heads[0].weight_bytes == heads[1].weight_bytes and not _same_tail(first, second, heads[0].weight_bytes):
        if sizes[0] == sizes[1]:
            yield from within("weights", byte_differences(first, second, starts[0], sizes[0]))
        else:
            yield Finding("weights", "differ")


def _same_tail(first: Path, second: Path, count: int) -> bool:
    with first.open("rb") as a, second.open("rb") as b:
        for file, path in ((a, first), (b, second)):
            file.seek(path.stat().st_size - count)
        while chunk := a.read(1 << 20):
            if chunk != b.read(len(chunk)):
                return False
    return True


def _facts(sidecar: Path | None) -> dict[str, object] | None:
    from enginewright.tensorrt.sidecar import read

    try:
        return read(sidecar) if sidecar else None
    except ActionError:
        return None


def _run_both(
    first: tuple[Path, Path | None], second: tuple[Path, Path | None], samples: Sequence[Sample], allowed: Tolerance
) -> list[Finding]:
    try:
        return list(sample_differences(_outputs(*first, samples), _outputs(*second, samples), allowed))
    except ActionError as error:
        return [Finding("outputs", str(error))]


def _outputs(engine: Path, beside: Path | None, samples: Sequence[Sample]) -> list[Sample]:
    from enginewright.rules.accuracy_test import run_all
    from enginewright.tensorrt.run import open_session
    from enginewright.tensorrt.sidecar import read

    assert beside is not None
    facts = read(beside)
    session = open_session(engine, facts, say=False)
    return [run_all(session, sample) for sample in samples]
