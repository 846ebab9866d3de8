"""What every executor is given, the local one and the remote: an action whose inputs are made, a *spawn* in Bazel's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from enginewright.graph.action import Action, Artifact
from enginewright.graph.key import Material
from enginewright.graph.label import Label


@dataclass(frozen=True)
class Input:
    """An input where it lies on this machine: its absolute path and the digest it has there."""

    location: Path
    digest: str


def offered_path(output: Artifact) -> str:
    """Where an action finds what an output was in the target's last run: beside it."""
    return f"{output.path}.previous"


@dataclass(frozen=True)
class Spawn:
    """The action of the target ``label``, ready to run. ``inputs`` are by the names that the action has for them.

    ``material`` is what its key covers. ``offered`` is what it may use besides and need not: files that are in no key, by the names of
    the outputs that they were in the target's last run.
    """

    label: Label
    action: Action
    material: Material
    inputs: Mapping[str, Input]
    offered: Mapping[str, Input] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """The action key."""
        return self.material.key()

    @cached_property
    def whole(self) -> Spawn:
        """The same with what is offered among its inputs."""
        artifacts = {f"previous/{name}": Artifact(offered_path(self.action.outputs[name])) for name in self.offered}
        found = {f"previous/{name}": each for name, each in self.offered.items()}
        action = replace(self.action, inputs={**self.action.inputs, **artifacts})
        return replace(self, action=action, inputs={**self.inputs, **found}, offered={})
