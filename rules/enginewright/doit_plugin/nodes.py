"""Targets as doit tasks: a task a target, named by its label, and a group a package."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TextIO

from doit.action import BaseAction
from doit.dependency import Dependency
from doit.exceptions import InvalidTask, TaskFailed
from doit.task import Task

from enginewright.errors import DeclarationError, WorkspaceError
from enginewright.execute.build import Build
from enginewright.execute.outcome import Outcome, Status
from enginewright.graph.dag import Target
from enginewright.graph.label import Label


class Node(Task):  # type: ignore[misc]  # doit has no type information
    """The task of one target. Whether it is up to date is decided by the build, not by doit's file checks."""

    def __init__(self, build: Build, target: Target, deps: Iterable[Label]) -> None:
        action = target.action
        self.build = build
        self.target = target
        super().__init__(
            str(target.label),
            [_Run(self)] if action else None,
            task_dep=[str(dep) for dep in deps],
            uptodate=[self.current] if action else [],
            targets=[artifact.path for artifact in action.outputs.values()] if action else [],
            doc=_describe(target),
            io={"capture": False},
            verbosity=2,
            subtask_of=target.label.package,
            has_subtask=action is None,
            meta={
                "declared": str(target.location),
                "mnemonic": action.mnemonic,
                "inputs": sorted(artifact.origin or artifact.path for artifact in action.inputs.values()),
            }
            if action
            else None,
        )

    def current(self) -> bool:
        """Whether there is nothing to run for it."""
        label = self.target.label
        try:
            if self.build.look_only:  # doit asks in any order then, not only once the dependencies are done
                pending = self.build.pending(self.build.graph.closure([label]))
                outcome = self.build.outcomes.get(label)
                return label not in pending and (outcome is None or outcome.status is not Status.CACHED)
            return self.build.judge(label)
        except (DeclarationError, WorkspaceError) as error:
            raise InvalidTask(str(error)) from None

    @property
    def skipped(self) -> bool:
        """Whether the build has skipped it. doit wants to run such a task all the same, as its files are not there."""
        outcome = self.build.outcomes.get(self.target.label)
        return outcome is not None and outcome.status is Status.SKIPPED

    def clean(self, outstream: TextIO, dryrun: bool) -> None:
        """Take the outputs away, folders with all that is in them."""
        for path in map(Path, self.targets):
            if path.exists() or path.is_symlink():
                outstream.write(f"{self.name} - removing {path}\n")
                if not dryrun:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


class _Run(BaseAction):  # type: ignore[misc]  # doit has no type information
    """What doit executes for a target: the build's own affair, so there are no arguments to look for and nothing to capture."""

    out = err = result = None
    values: Mapping[str, object] = {}

    def __init__(self, node: Node) -> None:
        self.task = node

    def execute(self, out: TextIO | None = None, err: TextIO | None = None) -> TaskFailed | None:
        if self.task.skipped:
            return None
        outcome = self.task.build.run(self.task.target.label)
        return TaskFailed(f"{self.task.name}: {outcome.reason}") if outcome.status is Status.FAILED else None


def nodes(build: Build, labels: Iterable[Label]) -> list[Task]:
    """The tasks of these targets; a dependency that is not among them is taken to be done."""
    chosen = list(labels)
    known = set(chosen)
    return [
        Node(build, target, [dep for dep in target.deps if dep in known]) for target in (build.graph.targets[label] for label in chosen)
    ]


def tell_classes(build: Build, tasks: Iterable[Task]) -> None:
    """Add to what is said of targets how reproducible their last results are, where `doit verify` has found out."""
    keys = build.reproducibilities.keys()
    for task in tasks if keys else ():
        key = build.last_key(task.target.label)
        if key in keys and (found := build.reproducibilities.get(key)):
            task.doc += f" [{found.reproducible}]"


def skip_ignored(build: Build, tasks: Iterable[Task], database: Dependency) -> None:
    """Skip the targets that `doit ignore` was told of."""
    for task in tasks:
        if database.status_is_ignore(task):
            label = task.target.label
            build.outcomes[label] = Outcome(label, Status.SKIPPED, reason=f"is ignored, until `doit forget {label}`")


def groups(build: Build) -> list[Task]:
    """A group a package, and one for all packages, which `doit run build` runs."""
    members: dict[str, list[str]] = {package: [] for package in build.graph.packages()}
    for label in build.graph.deps:
        members[label.package].append(str(label))
    every = Task("build", None, task_dep=list(members), has_subtask=True, doc="every target of the workspace")
    return [
        every,
        *(
            Task(package, None, task_dep=names, has_subtask=True, doc=f"{len(names)} target{'s' * (len(names) > 1)} of {package}/BUILD.py")
            for package, names in members.items()
        ),
    ]


def _describe(target: Target) -> str:
    if target.action is None:
        return f"{target.kind} of {len(target.deps)} targets"
    return f"{target.kind}: {', '.join(artifact.path for artifact in target.action.outputs.values())}"
