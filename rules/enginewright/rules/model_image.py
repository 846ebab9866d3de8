"""model_image(): a model's engines as an image, one layer per architecture, for servers that bring their own runtime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from enginewright.graph.attributes import AttributeProblem
from enginewright.graph.label import Label
from enginewright.graph.rule import Lookup, Rule, declaration
from enginewright.rules.engine import engines_by_arch
from enginewright.rules.engine_manifest import EngineManifest
from enginewright.rules.image import Image
from enginewright.rules.layer import FilesLayer


@dataclass(frozen=True, kw_only=True)
class ModelImage(Rule):
    """An image with the engines of a tensorrt_engine(), their sidecars and a ``manifest.json``, all in ``folder``.

    Each architecture is a layer of its own, target ``NAME.layer_sm_80`` and so on, so that a new engine is one new layer; the
    manifest, from which a server picks the engine for its GPU, is the top one. ``folder`` is ``/models/`` and the last part of
    the engines' package when left out.
    """

    kind: ClassVar[str] = "model_image"

    engines: Label
    folder: str = ""

    def check(self) -> None:
        if self.folder and (not self.folder.startswith("/") or {"", ".", ".."} & set(self.folder[1:].split("/"))):
            raise AttributeProblem("folder", f"expected an absolute path in the image, as '/models/minilm', got {self.folder!r}")

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        folder = self.folder or f"/models/{self.engines.package.rpartition('/')[2]}"
        engines = engines_by_arch(self.engines, lookup)
        layers = []
        for arch, engine in engines.items():
            layer = FilesLayer(name=f"{self.name}.layer_{arch}", files={f"{folder}/": engine})
            layers.append(layer)
            yield layer
        manifest = EngineManifest(name=f"{self.name}.manifest", engines=engines)
        yield manifest
        top = FilesLayer(name=f"{self.name}.layer_manifest", files={f"{folder}/manifest.json": Label(package, manifest.name)})
        yield top
        yield Image(name=self.name, layers=tuple(Label(package, layer.name) for layer in (*layers, top)))


model_image = declaration(ModelImage)
