"""model_bundle(): a model's engines, and whatever else a server needs, as one folder with one digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

from enginewright.graph.action import Action, Artifact
from enginewright.graph.attributes import AttributeProblem, Source
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Lookup, Rule, declaration
from enginewright.rules.engine import engines_by_arch
from enginewright.rules.engine_manifest import EngineManifest


@dataclass(frozen=True, kw_only=True)
class ModelBundle(Rule):
    """A folder with the ``engines`` of a tensorrt_engine(), their sidecars and a ``manifest.json``, and with ``files``.

    ``files`` maps paths in the folder to files of the package, ``dist://NAME/PATH``, or labels: of a label with several outputs the
    path is a folder, and ends with ``/``. SHA256SUMS lists what is in the folder; its SHA-256 is the digest of the bundle, under
    which ``doit publish`` puts it into a folder or a bucket.
    """

    kind: ClassVar[str] = "model_bundle"

    engines: Label | None = None
    files: Mapping[str, Label | Annotated[str, Source()]] = field(default_factory=dict)

    def check(self) -> None:
        if self.engines is None and not self.files:
            raise AttributeProblem("files", "is empty: a bundle needs engines or files")
        for path in self.files:
            if {"", ".", ".."} & set(path.removesuffix("/").split("/")):
                raise AttributeProblem("files", f"{path!r} is not a path in the bundle: write it relative, with no '.', '..' or '//'")

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        files: dict[str, Label | str] = dict(self.files)
        labels: tuple[Label, ...] = ()
        if self.engines is not None:
            engines = engines_by_arch(self.engines, lookup)
            manifest = EngineManifest(name=f"{self.name}.manifest", engines=engines)
            yield manifest
            labels = tuple(engines.values())
            if "manifest.json" in files:
                raise AttributeProblem("files", "'manifest.json' is what lists the engines: give your file another path")
            files["manifest.json"] = Label(package, manifest.name)
        yield _Bundle(name=self.name, engines=labels, files=files)


model_bundle = declaration(ModelBundle)


@dataclass(frozen=True, kw_only=True)
class _Bundle(Rule):
    """What model_bundle() declares, with each of its engines."""

    kind: ClassVar[str] = "model_bundle"
    provides: ClassVar[Mapping[str, str]] = {"bundle": ""}

    engines: tuple[Label, ...]
    files: Mapping[str, Label | Annotated[str, Source()]]

    def action(self, context: Context) -> Action:
        placed: dict[str, Artifact] = {}
        for path, artifact in self._placed(context):
            if path in placed:
                raise AttributeProblem("files", f"{path!r} would come from {placed[path].path} and from {artifact.path}")
            placed[path] = artifact
        for path in placed:
            for parent in map(str, PurePosixPath(path).parents):
                if parent in placed:
                    raise AttributeProblem("files", f"{parent!r} cannot be a file and also be the folder of {path!r}")
        return Action(
            mnemonic="ModelBundle",
            run="enginewright.rules.model_bundle:write_bundle",
            inputs=placed,
            outputs={"bundle": context.output("", tree=True)},
        )

    def _placed(self, context: Context) -> Iterator[tuple[str, Artifact]]:
        for engine in self.engines:
            yield from ((PurePosixPath(artifact.path).name, artifact) for artifact in context.outputs(engine).values())
        for path, source in self.files.items():
            if not isinstance(source, Label):
                yield path + PurePosixPath(source).name * path.endswith("/"), context.source(source)
                continue
            artifacts = list(context.outputs(source).values())
            if not artifacts or (len(artifacts) > 1 and not path.endswith("/")):
                hint = f"has several outputs: write {path + '/'!r} to place them all in a folder" if artifacts else "makes no files"
                raise AttributeProblem(f"files[{path!r}]", f"{source} {hint}")
            yield from ((path + PurePosixPath(each.path).name * path.endswith("/"), each) for each in artifacts)


def write_bundle(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the folder; inputs go in under their names. Files are symbolic links to the inputs, as in model_repository()."""
    from enginewright.bundle.sums import seal

    for name, path in inputs.items():
        for below, file in _files(name, path):
            placed = outputs["bundle"] / below
            placed.parent.mkdir(parents=True, exist_ok=True)
            placed.symlink_to(file.resolve())
    seal(outputs["bundle"])


def _files(name: str, path: Path) -> Iterator[tuple[str, Path]]:
    if not path.is_dir():
        yield name, path
        return
    for child in sorted(path.iterdir()):
        yield from _files(f"{name}/{child.name}", child)
