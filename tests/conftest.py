from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from enginewright.graph.action import Action, Artifact
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Loading, Rule, loading
from throwaway import PYPROJECT, Workspace

PACKAGE = "models/x"

# Before gRPC is imported: in a process that is forked to become another, its threads would start anew, without their descriptors.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# Nothing here depends on how fast the machine is.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def declare() -> Callable[..., Any]:
    """Calls a rule as models/x/BUILD.py does, and returns the `Rule` it declares."""

    def call(rule: Callable[..., None], **attributes: Any) -> Rule:
        into = Loading(PACKAGE, f"{PACKAGE}/BUILD.py")
        token = loading.set(into)
        try:
            rule(**attributes)
        finally:
            loading.reset(token)
        return into.declared[0].rule

    return call


@pytest.fixture
def action_of() -> Callable[[Rule], Action]:
    """Analyses a rule of models/x whose dependencies have outputs ``checkpoint`` and ``onnx``."""

    def analyse(rule: Rule) -> Action:
        outputs = {"checkpoint": Artifact("build/models/x/weights.safetensors"), "onnx": Artifact("build/models/x/onnx.onnx")}
        action = rule.action(Context(Label(PACKAGE, rule.name), lambda label: outputs))
        assert action is not None
        return action

    return analyse


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    """A workspace without packages, and a store of its own."""
    made = Workspace(tmp_path / "workspace", tmp_path / "store", tmp_path / "trace")
    made.write({"dodo.py": "", "pyproject.toml": PYPROJECT})
    return made
