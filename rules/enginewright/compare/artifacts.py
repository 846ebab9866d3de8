"""All outputs of a target, each compared as what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from enginewright.compare.content import compare_bytes, compare_json
from enginewright.compare.tensors import NEAR, compare_npz, compare_safetensors
from enginewright.compare.verdict import NONE, Comparison, Finding, differing, within, worst
from enginewright.model.tolerance import Tolerance
from enginewright.store.digest import file_digest

if TYPE_CHECKING:
    from enginewright.model.samples import Sample


@dataclass(frozen=True)
class Means:
    """What it takes to say that two models compute the same: samples for them, what they may differ by, the GPUs at hand.

    ``samples`` reads the samples, when they are needed.
    """

    samples: Callable[[], Sequence[Sample]] = tuple
    allowed: Tolerance = NEAR
    gpus: Sequence[str] = field(default=())


def compare_outputs(first: Mapping[str, Path], second: Mapping[str, Path], means: Means) -> dict[str, Comparison]:
    """Compare the outputs of two runs of an action, which go by the same names, and return what differs, by name.

    What an output is, is told by the suffix of its first file.
    """
    return {name: _compare(name, first, second, means) for name in first if not _same(first[name], second[name])}


def _same(first: Path, second: Path) -> bool:
    if first.is_dir():
        one, other = files_below(first), files_below(second)
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return second.is_file() and first.stat().st_size == second.stat().st_size and file_digest(first) == file_digest(second)


def files_below(folder: Path) -> dict[str, Path]:
    """The files of a folder, and those that links in it lead to, by their paths below it."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _compare(name: str, first: Mapping[str, Path], second: Mapping[str, Path], means: Means) -> Comparison:
    a, b = first[name], second[name]
    try:
        if a.is_dir():
            return _layouts(a, b) if (a / "oci-layout").exists() else _folders(a, b, means)
        if a.suffix == ".engine":
            from enginewright.compare.engines import compare_engines

            return compare_engines((a, first.get("sidecar")), (b, second.get("sidecar")), means.samples(), means.allowed, means.gpus)
        return _file(a, b, means, beside_engine="engine" in first)
    except ValueError:  # it is not what its name says
        return compare_bytes(a, b)


def _layouts(first: Path, second: Path) -> Comparison:
    from enginewright.compare.images import compare_layouts

    return compare_layouts(first, second)


def _folders(first: Path, second: Path, means: Means) -> Comparison:
    one, other = files_below(first), files_below(second)
    findings = [
        Finding(name, "is only in the first" if name in one else "is only in the second") for name in sorted(one.keys() ^ other.keys())
    ]
    classes = [NONE] * bool(findings)
    for name, compared in compare_outputs({name: one[name] for name in one if name in other}, other, means).items():
        classes.append(compared.reproducible)
        findings += within(name, compared.findings)
    return differing(worst(classes), findings)


def _file(first: Path, second: Path, means: Means, beside_engine: bool) -> Comparison:
    if first.suffix == ".onnx":
        from enginewright.compare.models import compare_onnx

        return compare_onnx(first, second, means.samples(), means.allowed)
    if first.suffix == ".safetensors":
        return compare_safetensors(first, second)
    if first.suffix == ".npz":
        return compare_npz(first, second)
    if {".tar", ".tgz"} & set(first.suffixes):
        from enginewright.compare.archives import compare_archives

        return compare_archives(first, second)
    if first.suffix == ".json":
        from enginewright.compare.engines import IMPLIED

        return compare_json(first, second, IMPLIED if beside_engine else ())
    return compare_bytes(first, second)
