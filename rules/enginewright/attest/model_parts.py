"""What of a lineage is a model: checkpoints, ONNX models and engines, what each was made from, and under which licence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from enginewright.attest.provenance import purl

_KINDS = {"checkpoint": "checkpoint", "onnx": "ONNX model", "engine": "TensorRT engine"}
"""The outputs by which a target makes a model, and what that is called."""

_WEIGHTS = "src"
"""The input by which a rule takes in weights from outside."""

_PROPERTIES = ("arch", "backend", "opset", "exporter")
"""Attributes of a target that tell models of one kind apart."""


@dataclass(frozen=True)
class Part:
    """One model. ``ref`` names it in a document; ``made_from`` are the refs of others.

    ``licenses`` are SPDX expressions where they are ones, and other texts where not. ``package`` is the package URL of what it was
    taken from.
    """

    ref: str
    name: str
    what: str
    sha256: str
    size: int
    licenses: tuple[str, ...] = ()
    made_from: tuple[str, ...] = ()
    package: str = ""
    properties: Mapping[str, str] | None = None


def model_parts(lineage: Mapping[str, Any], licenses: Mapping[str, str]) -> list[Part]:
    """The models of a lineage, each after those it was made from. ``licenses`` are declared, by label; others follow from sources."""
    parts: dict[str, Part] = {}
    for target in lineage["targets"]:
        output = next((name for name in _KINDS if name in target["outputs"]), "")
        if not output or "files" in target["outputs"][output]:
            continue
        sources = list(_weights(target))
        parts |= {each.ref: each for each in sources}
        models = [f"model:{given['target']}" for given in target["inputs"].values() if "target" in given]
        made_from = tuple(sorted({ref for ref in (*models, *(each.ref for each in sources)) if ref in parts}))
        inherited = {licence for ref in made_from for licence in parts[ref].licenses}
        declared = licenses.get(target["label"])
        ref = f"model:{target['label']}"
        parts[ref] = Part(
            ref=ref,
            name=target["label"],
            what=_KINDS[output],
            sha256=target["outputs"][output]["sha256"],
            size=target["outputs"][output]["size"],
            licenses=(declared,) if declared else tuple(sorted(inherited)),
            made_from=made_from,
            properties={name: target["attributes"][name] for name in _PROPERTIES if name in target["attributes"]},
        )
    return list(parts.values())


def _weights(target: Mapping[str, Any]) -> Iterator[Part]:
    given = target["inputs"].get(_WEIGHTS)
    if given and "source" in given:
        package = purl(given["distribution"], given["version"]) if "distribution" in given else ""
        licence = (expression(given["licence"]) or given["licence"],) if given.get("licence") else ()
        yield Part(f"source:{given['source']}", given["source"], "weights", given["sha256"], given["size"], licence, package=package)


def expression(text: str) -> str:
    """A licence as a canonical SPDX expression; empty for a text that is none."""
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return ""


def combined(licenses: Sequence[str]) -> str:
    """All of several SPDX expressions as one; empty where there is none, or one is no expression."""
    if not all(map(expression, licenses)):
        return ""
    return " AND ".join(f"({each})" if " " in each and len(licenses) > 1 else each for each in licenses)


def top(parts: Sequence[Part]) -> list[str]:
    """The refs of models that no other of these is made from."""
    used = {ref for part in parts for ref in part.made_from}
    return [part.ref for part in parts if part.ref not in used]
