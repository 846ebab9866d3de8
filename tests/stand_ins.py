"""Engines to declare where none need be compiled, BUILD.py files by hand, and their actions run without a sandbox."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from enginewright.graph.action import Action
from enginewright.graph.dag import Graph
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Declared, Group, Loading, Lookup, Rule, declaration, loading

FACTS = {
    "backend": {"name": "tensorrt_rtx", "version": "1.7.1"},
    "io": [{"name": "ids", "mode": "input", "dtype": "int64", "shape": ["batch", 128]}],
    "precision": "float16",
    "profiles": [{"ids": [[1, 128], [8, 128], [32, 128]]}],
}


@dataclass(frozen=True, kw_only=True)
class OneEngine(Rule):
    kind: ClassVar[str] = "one_engine"
    provides: ClassVar[Mapping[str, str]] = {"engine": ".engine", "sidecar": ".json"}

    arch: str

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="OneEngine",
            run=f"{__name__}:compile_engine",
            inputs={},
            outputs={name: context.output(suffix) for name, suffix in self.provides.items()},
            params={"arch": self.arch},
        )


def compile_engine(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    outputs["engine"].write_text(f"engine for {params['arch']}")
    facts = {**FACTS, "format": 1, "arch": params["arch"], "sources": {}, "settings": {}, "engine": {}}
    outputs["sidecar"].write_text(json.dumps(facts))


@dataclass(frozen=True, kw_only=True)
class Engines(Rule):
    kind: ClassVar[str] = "engines"

    archs: tuple[str, ...]

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        members = [OneEngine(name=f"{self.name}_{arch}", arch=arch) for arch in self.archs]
        yield from members
        yield Group(name=self.name, members=tuple(Label(package, member.name) for member in members))


engines = declaration(Engines)


@contextmanager
def build_file(package: str) -> Iterator[list[Declared]]:
    into = Loading(package, f"{package}/BUILD.py")
    token = loading.set(into)
    try:
        yield into.declared
    finally:
        loading.reset(token)


def build(graph: Graph, workspace: Path) -> None:
    """Run every action, without a sandbox."""
    for target in graph.targets.values():
        if target.action is None:
            continue
        module, _, function = target.action.run.partition(":")
        inputs = {name: workspace / artifact.path for name, artifact in target.action.inputs.items()}
        outputs = {name: workspace / artifact.path for name, artifact in target.action.outputs.items()}
        for path in outputs.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        getattr(importlib.import_module(module), function)(inputs, outputs, json.loads(json.dumps(target.action.params)))
