"""files_layer(): files, and outputs of other targets, as one layer of an image."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

from enginewright.graph.action import Action, Artifact
from enginewright.graph.attributes import AttributeProblem, Source
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, declaration
from enginewright.oci import layer as oci_layer
from enginewright.oci.members import LONGEST_NAME, WHITEOUT, Rights, gather, parents
from enginewright.rules.layering import LayerRule, is_image_path

_OWNER = re.compile(r"(\d{1,10})(?::(\d{1,10}))?")
_MODE = re.compile(r"0?([0-7]{3,4})")
_HIGHEST_ID = 2**32 - 2
"""The highest user or group: the one after it stands for none (chown(2))."""


@dataclass(frozen=True, kw_only=True)
class FilesLayer(LayerRule):
    """A layer with ``files``: a dict from absolute paths in the image to labels or files of the package.

    ``"/app/serve.py": "serve.py"`` places one file (or, of a label whose output is a folder, that folder); a path that ends
    with ``/`` is a folder into which all outputs of a label go under their own names. ``links`` maps paths of symbolic links to
    what they lead to, ``folders`` are made although they are empty, and ``deletes`` takes away what the image has from the layers below.

    Everything belongs to root; files have mode 0644, or 0755 where they are executable in a folder, and folders 0755, unless
    ``owners`` (as ``"65532:65532"``) and ``modes`` (as ``"0755"``) say otherwise of a path. One that ends with ``/`` stands for that
    folder and all in it, or, as to modes, for the files in it; the longest path wins. All is of 1970 unless ``mtime`` says otherwise,
    so that the same content is the same layer.
    """

    kind: ClassVar[str] = "files_layer"

    files: Mapping[str, Label | Annotated[str, Source()]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        super().check()
        if not (self.files or self.links or self.folders or self.deletes):
            raise AttributeProblem("files", "is empty: a layer needs at least one file")
        for attribute in ("files", "folders", "owners", "modes"):
            _check_paths(attribute, getattr(self, attribute), may_end_with_slash=True)
        for attribute in ("links", "deletes"):
            _check_paths(attribute, getattr(self, attribute), may_end_with_slash=False)
        for path, target in self.links.items():
            _check_target(f"links[{path!r}]", path, target)
        _check_conflicts("files", [*self.files, *self.links], [*self.files, *self.links, *self.folders])
        for attribute in ("links", "deletes"):
            for path in getattr(self, attribute):
                if path in self.files or (attribute == "deletes" and path in self.links):
                    raise AttributeProblem(attribute, f"{path!r} is also placed: give it one meaning")
        _read_owners(self.owners)
        _read_modes(self.modes)

    def action(self, context: Context) -> Action:
        files: dict[str, Artifact] = {}
        for path, source in self.files.items():
            for placed, artifact in _place(path, source, context):
                if placed in files:
                    raise AttributeProblem(f"files[{path!r}]", f"{placed} is already {files[placed].path}: give one another path")
                files[placed] = artifact
        _check_conflicts("files", files, [*files, *self.links, *self.folders])
        return Action(
            mnemonic="FilesLayer",
            run="enginewright.rules.layer:write_layer",
            inputs={artifact.path: artifact for artifact in files.values()},
            outputs=self.layer_outputs(context),
            params={
                "files": {path: artifact.path for path, artifact in files.items()},
                "links": self.links,
                "folders": tuple(sorted(self.folders)),
                "deletes": tuple(sorted(self.deletes)),
                "owners": _read_owners(self.owners),
                "modes": _read_modes(self.modes),
                **self.layer_params(context),
            },
            packages=self.layer_packages(context),
        )


files_layer = declaration(FilesLayer)


def write_layer(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the layer and its descriptor. Raises ActionError as `gather` and `archive` do."""
    files = {path: inputs[name] for path, name in params["files"].items()}
    owners = {path: (uid, gid) for path, (uid, gid) in params["owners"].items()}
    members = gather(files, params["links"], params["folders"], params["deletes"], Rights(owners, params["modes"]))
    oci_layer.write_layer(outputs, members, params["compression"], params["mtime"])


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


def _check_paths(attribute: str, paths: Iterable[str], may_end_with_slash: bool) -> None:
    for path in paths:
        if path != "/" and not is_image_path(path.removesuffix("/")):
            raise AttributeProblem(attribute, f"{path!r} is not a path in the image: write it absolute, with no '.', '..' or '//'")
        if any(part.startswith(WHITEOUT) for part in path.split("/")):
            hint = ": leave it out here" if attribute == "deletes" else ": what the layer deletes is listed in deletes"
            raise AttributeProblem(attribute, f"{path!r}: a name that starts with {WHITEOUT} would delete a file below the layer{hint}")
        if path == "/" and attribute == "folders":
            raise AttributeProblem(attribute, "'/' is in every image")
        if path.endswith("/") and not may_end_with_slash:
            raise AttributeProblem(attribute, f"{path!r} is a folder: write it without '/' at its end")
        room = LONGEST_NAME - len(WHITEOUT) * (attribute == "deletes")
        if longest := next((part for part in path.split("/") if len(part.encode("utf-8", "surrogatepass")) > room), ""):
            raise AttributeProblem(attribute, f"{longest[:40] + '...'!r} is too long a name: there is room for {room} bytes")


def _check_target(where: str, path: str, target: str) -> None:
    """Refuse a link that leads out of the image. An absolute one is taken from the image's root, as programs in it take it."""
    depth = 0 if target.startswith("/") else len(parents(path.strip("/")))
    for part in target.strip("/").split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            raise AttributeProblem(where, f"{target!r} leads out of the image: it has more '..' than there are folders above it")
    if not target or "\0" in target:
        raise AttributeProblem(where, f"{target!r} leads nowhere: write a path, as 'python3.11' or '/usr/bin/python3'")


def _check_conflicts(attribute: str, whole: Collection[str], paths: Collection[str]) -> None:
    """Raise AttributeProblem where a path that does not end with ``/`` is also a folder that another path lies in."""
    for path in whole:
        for other in paths:
            if other.startswith(path + "/"):
                raise AttributeProblem(attribute, f"{path!r} cannot be placed whole and also be the folder of {other!r}")


def _read_owners(owners: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """The user and group of each path. Numbers only: names are of the image's /etc/passwd, which no layer knows."""
    found = {}
    for path, owner in owners.items():
        match = _OWNER.fullmatch(owner)
        ids = (int(match[1]), int(match[2] or match[1])) if match else (-1, -1)
        if not match or max(ids) > _HIGHEST_ID:
            raise AttributeProblem(f"owners[{path!r}]", f"{owner!r} is no owner: write numbers, as '65532:65532' or '0'")
        found[path] = ids
    return found


def _read_modes(modes: Mapping[str, str]) -> dict[str, int]:
    found = {}
    for path, mode in modes.items():
        match = _MODE.fullmatch(mode)
        if not match:
            raise AttributeProblem(f"modes[{path!r}]", f"{mode!r} is no mode: write it in octal, as '0755' or '4755'")
        found[path] = int(match[1], 8)
    return found
