"""What the keys of a build's targets cover, as things stand now: the digests of their inputs, and what their actions run with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from enginewright.errors import DeclarationError
from enginewright.execute.installation import Installation
from enginewright.execute.placement import Placement
from enginewright.execute.spawn import Input, Spawn
from enginewright.graph.action import Artifact
from enginewright.graph.dag import Graph, Target
from enginewright.graph.key import Material, material
from enginewright.graph.label import Label
from enginewright.store.snapshot import Snapshot
from enginewright.workspace.sources import locate


class Materials:
    """Of the targets of ``graph`` in the workspace ``root``; the digests of files are those in ``snapshot``.

    ``done`` says whether a target's outputs are known, ``write`` writes an input that the build itself makes.
    """

    def __init__(
        self,
        root: Path,
        graph: Graph,
        snapshot: Snapshot,
        installation: Installation,
        placement: Placement,
        done: Callable[[Label], bool],
        write: Callable[[Artifact], tuple[Path, str]],
    ) -> None:
        self._root = root
        self._graph = graph
        self._snapshot = snapshot
        self._installation = installation
        self._placement = placement
        self._done = done
        self._write = write

    def look_at(self, targets: Iterable[Target]) -> None:
        """Read what is to be read of these targets' files, several at a time.

        Raises DeclarationError when a source or a distribution that one needs is missing.
        """
        actions = [(target, target.action) for target in targets if target.action is not None]
        self._snapshot.read_ahead(
            artifact.path
            for _, action in actions
            for artifact in (*action.inputs.values(), *action.outputs.values())
            if not artifact.tree and not artifact.origin
        )
        for target, action in actions:
            if not self._placement.unmet(target):
                self._placement.toolchain(target)
            for artifact in action.inputs.values():
                if not self._made(target, artifact):
                    self._source(target, artifact)

    def inputs(self, target: Target) -> dict[str, Input]:
        """The inputs of a target's action by name; the digest of one that is yet to be made is empty. Raises DeclarationError."""
        assert target.action is not None
        made = {}
        for dep in target.deps:
            action = self._graph.targets[dep].action
            for name, artifact in action.outputs.items() if action else ():
                if not self._done(dep):
                    made[artifact.path] = ""
                    continue
                built = self._snapshot.target(str(dep))
                assert built is not None
                made[artifact.path] = built.outputs[name]
        return {
            name: Input(self._root / artifact.path, made[artifact.path]) if artifact.path in made else self._source(target, artifact)
            for name, artifact in target.action.inputs.items()
        }

    def of(self, target: Target, inputs: Mapping[str, Input] | None = None) -> Material:
        """What a target's key covers; ``inputs`` are its inputs, when they have been looked at already. Raises DeclarationError."""
        assert target.action is not None
        return material(
            target.action,
            inputs={name: each.digest for name, each in (self.inputs(target) if inputs is None else inputs).items()},
            code=self._installation.code(target.action.run.partition(":")[0]),
            toolchain=self._placement.toolchain(target),
            platform=self._placement.platform(target),
        )

    def spawn(self, target: Target) -> Spawn:
        """A target's action with its inputs and its material. Raises DeclarationError."""
        assert target.action is not None
        inputs = self.inputs(target)
        return Spawn(target.label, target.action, self.of(target, inputs), inputs)

    def _made(self, target: Target, artifact: Artifact) -> bool:
        """Whether an input is another target's output, rather than a source."""
        return any(
            artifact.path == made.path
            for dep in target.deps
            if (action := self._graph.targets[dep].action)
            for made in action.outputs.values()
        )

    def _source(self, target: Target, artifact: Artifact) -> Input:
        if artifact.written:
            return Input(*self._write(artifact))
        try:
            location = locate(self._root, artifact)
        except LookupError as error:
            raise DeclarationError(f"{target}: {error}") from None
        digest = self._snapshot.digest(str(location) if artifact.origin else artifact.path)
        if digest is None:
            kind = "a folder" if location.is_dir() else "no regular file, nor a link to one"
            what = f"is {kind}, where a file is expected" if os.path.lexists(location) else "does not exist"
            raise DeclarationError(f"{target}: the source {artifact.origin or artifact.path} {what}")
        return Input(location, digest)
