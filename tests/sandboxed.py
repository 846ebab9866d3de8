"""Actions that run in the sandbox by themselves: without a graph, without doit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enginewright import python_action
from enginewright.errors import ActionError
from enginewright.execute.installation import Installation
from enginewright.execute.local import Executor
from enginewright.execute.spawn import Input, Spawn
from enginewright.graph.action import Artifact
from enginewright.graph.key import material
from enginewright.graph.label import Label
from enginewright.graph.rule import Context
from enginewright.store.content import ContentStore
from enginewright.store.digest import file_digest, tree_digest
from enginewright.store.results import Result
from enginewright.workspace.sources import locate

LABEL = Label("models/x", "t")
MISDEEDS = Path(__file__).parent / "execute/misdeeds.py"


class Sandbox:
    """The executor of a workspace whose package models/x has actions that run the functions of misdeeds.py."""

    def __init__(self, root: Path, store: ContentStore, declare: Callable[..., Any]) -> None:
        self.root = root
        self.store = store
        self.executor = Executor(root, store, Installation())
        self.log = root / "build/.enginewright/logs/models/x/t.log"
        self.declare = declare
        self.write("models/x/misdeeds.py", MISDEEDS.read_text())

    def write(self, path: str, text: str = "text") -> Path:
        """Write a file of the workspace."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)
        return self.root / path

    def run(
        self,
        function: str,
        *,
        inputs: Mapping[str, str] | None = None,
        trees: Mapping[str, str] | None = None,
        outputs: Mapping[str, Artifact] | None = None,
        requires: Mapping[str, str] | None = None,
        packages: tuple[str, ...] = (),
        environment: tuple[str, ...] = (),
        **params: Any,
    ) -> Result:
        """Run a function of misdeeds.py. ``trees`` are inputs that are folders of the workspace."""
        declared = self.declare(
            python_action, name=LABEL.name, function=f"misdeeds.py:{function}", inputs=dict(inputs or {}),
            outputs={"out": "out.txt"}, params=params, packages=packages,
        )  # fmt: skip
        action = declared.action(Context(LABEL, lambda label: {}))
        folders = {f"input/{name}": Artifact(path, tree=True) for name, path in (trees or {}).items()}
        action = replace(
            action,
            inputs={**action.inputs, **folders},
            outputs=outputs or action.outputs,
            requires=requires or action.requires,
            environment=environment,
        )
        found = {}
        for name, artifact in action.inputs.items():
            path = locate(self.root, artifact)
            found[name] = Input(path, tree_digest(path) if artifact.tree else file_digest(path))
        covered = material(action, inputs={name: each.digest for name, each in found.items()}, code={}, toolchain={}, platform="")
        with self.executor.run(Spawn(LABEL, action, covered, found), self.log) as result:
            return result

    def problem(self, function: str, **options: Any) -> str:
        """Why an action fails."""
        with pytest.raises(ActionError) as caught:
            self.run(function, **options)
        return str(caught.value)

    def left_over(self) -> list[Path]:
        """The files in the store's scratch folders."""
        return [path for path in (self.store.root / "tmp").rglob("*") if not path.is_dir()]

    def text(self, result: Result) -> str:
        """The stored output of an action."""
        return self.store.path(result.outputs["out"].digest).read_text()
