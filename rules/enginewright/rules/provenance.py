"""provenance(): a statement of how a target was built, through all that led to it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from enginewright.attest.provenance import BUILDER
from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule, declaration

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")


@dataclass(frozen=True, kw_only=True)
class Provenance(Rule):
    """An in-toto statement with the SLSA provenance of ``subject``: an image, a bundle, or any target that makes files.

    It has the SHA-256 of every source and of all that was made on the way, the versions of every toolchain, and the action of every
    target. No times and no machines: the same build has the same provenance, wherever it ran. ``builder`` is the URI of who builds,
    as your verifiers know it.
    """

    kind: ClassVar[str] = "provenance"
    provides: ClassVar[Mapping[str, str]] = {"statement": ".json"}

    subject: Label
    builder: str = BUILDER

    def check(self) -> None:
        if not _URI.fullmatch(self.builder):
            raise AttributeProblem("builder", f"expected a URI, as 'https://ci.example/builders/1', got {self.builder!r}")

    def action(self, context: Context) -> Action:
        made = context.outputs(self.subject)
        if not made:
            raise AttributeProblem("subject", f"{self.subject} makes no files: name one target, an image for one")
        return Action(
            mnemonic="Provenance",
            run="enginewright.rules.provenance:write_provenance",
            inputs={"lineage": context.lineage(self.subject), **({"layout": made["layout"]} if "layout" in made else {})},
            outputs={"statement": context.output(".json")},
            params={"builder": self.builder},
        )


provenance = declaration(Provenance)


def write_provenance(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the statement, as canonical JSON."""
    from enginewright.attest import provenance as slsa
    from enginewright.attest.image import bases
    from enginewright.attest.statement import statement, subjects_of

    lineage, layout = json.loads(inputs["lineage"].read_bytes()), inputs.get("layout")
    predicate = slsa.provenance(lineage, params["builder"], list(bases(layout)) if layout else ())
    outputs["statement"].write_bytes(statement(subjects_of(lineage, layout), slsa.PREDICATE, predicate))
