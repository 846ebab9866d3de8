"""files_layer(): files, and outputs of other targets, as one layer of an image."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

from enginewright.graph.action import Action, Artifact
from enginewright.graph.attributes import AttributeProblem, Source
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule, declaration
from enginewright.oci.layout import LAYER, Descriptor, canonical_json
from enginewright.oci.tar import write_tar


@dataclass(frozen=True, kw_only=True)
class FilesLayer(Rule):
    """A layer with ``files``: a dict from absolute paths in the image to labels or files of the package.

    ``"/app/serve.py": "serve.py"`` places one file (or, of a label whose output is a folder, that folder); a path that ends
    with ``/`` is a folder into which all outputs of a label go under their own names. In the image every file belongs to root,
    has mode 0644 and is of 1970, so that the same content is the same layer.
    """

    kind: ClassVar[str] = "files_layer"
    provides: ClassVar[Mapping[str, str]] = {"layer": ".tar", "descriptor": ".json"}

    files: Mapping[str, Label | Annotated[str, Source()]]

    def check(self) -> None:
        if not self.files:
            raise AttributeProblem("files", "is empty: a layer needs at least one file")
        for path in self.files:
            parts = path.removeprefix("/").removesuffix("/").split("/")
            if not path.startswith("/") or (path != "/" and {"", ".", ".."} & set(parts)):
                raise AttributeProblem("files", f"{path!r} is not a path in the image: write it absolute, with no '.', '..' or '//'")
        _check_conflicts(self.files)

    def action(self, context: Context) -> Action:
        files: dict[str, Artifact] = {}
        for path, source in self.files.items():
            for placed, artifact in _place(path, source, context):
                if placed in files:
                    raise AttributeProblem(f"files[{path!r}]", f"{placed} is already {files[placed].path}: give one another path")
                files[placed] = artifact
        _check_conflicts(files)
        return Action(
            mnemonic="FilesLayer",
            run="enginewright.rules.layer:write_layer",
            inputs={artifact.path: artifact for artifact in files.values()},
            outputs={name: context.output(suffix) for name, suffix in self.provides.items()},
            params={"files": {path: artifact.path for path, artifact in files.items()}, "mtime": 0},
        )


files_layer = declaration(FilesLayer)


def write_layer(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the layer as a tar archive, and its descriptor: an OCI descriptor's properties and ``diff_id``.

    The diff_id (OCI image-spec, config.md, "Layer DiffID") is the digest of the archive before any compression.
    """
    files = {path.removeprefix("/"): inputs[name] for path, name in params["files"].items()}
    written = write_tar(outputs["layer"], files, params["mtime"])
    descriptor = Descriptor(LAYER, written.digest, written.size)
    outputs["descriptor"].write_bytes(canonical_json({**descriptor.to_json(), "diff_id": written.digest}))


def _place(path: str, source: Label | str, context: Context) -> list[tuple[str, Artifact]]:
    """What the entry ``path: source`` of ``files`` puts where in the image."""
    where = f"files[{path!r}]"
    artifacts = [context.source(source)] if isinstance(source, str) else list(context.outputs(source).values())
    if not artifacts:
        raise AttributeProblem(where, f"{source} has no outputs: name a target that makes files")
    if path.endswith("/"):
        return [(path + PurePosixPath(artifact.path).name, artifact) for artifact in artifacts]
    if len(artifacts) > 1:
        names = ", ".join(PurePosixPath(artifact.path).name for artifact in artifacts)
        raise AttributeProblem(where, f"{source} has several outputs ({names}): write {path + '/'!r} to place them all in a folder")
    return [(path, artifacts[0])]


def _check_conflicts(paths: Collection[str]) -> None:
    """Raise AttributeProblem where a path that does not end with ``/`` is also a folder that another path lies in."""
    for path in paths:
        for other in paths:
            if other.startswith(path + "/"):
                raise AttributeProblem("files", f"{path!r} cannot be placed whole and also be the folder of {other!r}")
