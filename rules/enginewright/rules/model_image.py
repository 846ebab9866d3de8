"""model_image(): a model's engines as an image, one layer or one image per architecture, for servers that bring their own runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from enginewright.graph.attributes import AttributeProblem
from enginewright.graph.label import Label
from enginewright.graph.rule import Lookup, Rule, declaration
from enginewright.rules.engine import engines_by_arch
from enginewright.rules.engine_manifest import EngineManifest
from enginewright.rules.image import Image, check_annotations
from enginewright.rules.image_index import ImageIndex
from enginewright.rules.layer import FilesLayer
from enginewright.rules.layering import check_compression, is_image_path

ARCHITECTURE = "dev.enginewright.gpu.architecture"
"""The annotation of an image for one architecture, in its manifest and in the index over all: ``sm_80`` and so on."""


@dataclass(frozen=True, kw_only=True)
class ModelImage(Rule):
    """An image with the engines of a tensorrt_engine(), their sidecars and a ``manifest.json``, all in ``folder``.

    Each architecture is a layer of its own, target ``NAME.layer_sm_80`` and so on, so that a new engine is one new layer; the
    manifest, from which a server picks the engine for its GPU, is the top one. ``folder`` is ``/models/`` and the last part of
    the engines' package when left out.

    With ``per_arch`` each architecture is an image of its own, target ``NAME_sm_80`` and so on, so that a node gets the engine for its
    GPU alone; NAME is the index over them, where each has the annotation ``dev.enginewright.gpu.architecture``. ``annotations`` are
    those of all manifests, and ``compression`` is as a files_layer() has it.
    """

    kind: ClassVar[str] = "model_image"

    engines: Label
    folder: str = ""
    per_arch: bool = False
    compression: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        if self.folder and not is_image_path(self.folder):
            raise AttributeProblem("folder", f"expected an absolute path in the image, as '/models/minilm', got {self.folder!r}")
        check_compression(self.compression)
        check_annotations(self.annotations)

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        engines = engines_by_arch(self.engines, lookup)
        layers = {
            arch: FilesLayer(name=f"{self.name}.layer_{arch}", files={f"{self._folder}/": engine}, compression=self.compression)
            for arch, engine in engines.items()
        }
        yield from layers.values()
        if not self.per_arch:
            yield from self._image(self.name, package, engines, layers, self.annotations)
            return
        for arch, engine in engines.items():
            annotations = {**self.annotations, ARCHITECTURE: arch}
            yield from self._image(f"{self.name}_{arch}", package, {arch: engine}, {arch: layers[arch]}, annotations)
        images = tuple(Label(package, f"{self.name}_{arch}") for arch in engines)
        yield ImageIndex(name=self.name, images=images, annotations=self.annotations)

    @property
    def _folder(self) -> str:
        return self.folder or f"/models/{self.engines.package.rpartition('/')[2]}"

    def _image(
        self, name: str, package: str, engines: Mapping[str, Label], layers: Mapping[str, Rule], annotations: Mapping[str, str]
    ) -> Iterator[Rule]:
        """The image of some engines, and the targets that it is of besides their layers."""
        manifest = EngineManifest(name=f"{name}.manifest", engines=engines)
        yield manifest
        files = {f"{self._folder}/manifest.json": Label(package, manifest.name)}
        top = FilesLayer(name=f"{name}.layer_manifest", files=files, compression=self.compression)
        yield top
        yield Image(name=name, layers=tuple(Label(package, layer.name) for layer in (*layers.values(), top)), annotations=annotations)


model_image = declaration(ModelImage)
