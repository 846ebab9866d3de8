"""The manifest of a model image: which of its engines serves which GPU architecture. Declared by model_image()."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from enginewright.graph.action import Action
from enginewright.graph.attributes import Needs
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule
from enginewright.model.checksum import sha256_of

_FACTS = ("backend", "io", "precision", "profiles")
"""What a server asks of a sidecar before it loads an engine."""


@dataclass(frozen=True, kw_only=True)
class EngineManifest(Rule):
    """The manifest of ``engines``, a dict from architectures such as ``"sm_80"`` to labels."""

    kind: ClassVar[str] = "engine_manifest"
    provides: ClassVar[Mapping[str, str]] = {"manifest": ".json"}

    engines: Mapping[str, Annotated[Label, Needs("engine")]]

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="EngineManifest",
            run="enginewright.rules.engine_manifest:write_manifest",
            inputs={
                f"{arch}.{output}": context.input(engine, output)
                for arch, engine in self.engines.items()
                for output in ("engine", "sidecar")
            },
            outputs={"manifest": context.output(".json")},
            params={"archs": tuple(self.engines)},
        )


def write_manifest(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write ``{"engines": {ARCH: {...}}}``: file names beside the manifest, size in bytes, SHA-256, and facts of the sidecar."""
    engines = {arch: _describe(inputs[f"{arch}.engine"], inputs[f"{arch}.sidecar"]) for arch in params["archs"]}
    manifest = {"format": 1, "engines": engines}
    outputs["manifest"].write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _describe(engine: Path, sidecar: Path) -> dict[str, Any]:
    digest = sha256_of(engine)
    facts = json.loads(sidecar.read_bytes())
    return {
        "engine": engine.name,
        "sidecar": sidecar.name,
        "sha256": digest,
        "size": engine.stat().st_size,
        **{name: facts[name] for name in _FACTS},
    }
