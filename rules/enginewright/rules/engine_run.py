"""What tests that run an engine on a GPU have in common: which engine, on which GPU, with what installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from enginewright.graph.action import Action
from enginewright.graph.attributes import Needs
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Lookup, Rule
from enginewright.rules.engine import find_engine
from enginewright.tensorrt.backend import DISTRIBUTIONS

if TYPE_CHECKING:
    from enginewright.tensorrt.run import Session


@dataclass(frozen=True, kw_only=True)
class EngineRun(Rule):
    """``engine`` is one engine, as ``":engine_sm_90"``, or a tensorrt_engine() together with ``arch``."""

    provides: ClassVar[Mapping[str, str]] = {"report": ".json"}

    engine: Annotated[Label, Needs("engine")]
    arch: str = ""

    def found(self, lookup: Lookup) -> dict[str, Any]:
        """The attributes of this declaration, of one engine; its ``backend`` and its ``plugins``."""
        label, engine = find_engine(self.engine, self.arch, lookup)
        return {**vars(self), "engine": label, "arch": engine.arch, "backend": engine.backend, "plugins": engine.plugins}


def run_action(context: Context, test: EngineRun, backend: str, plugins: Iterable[str], action: Action) -> Action:
    """``action`` with what running the engine of a test takes: it and its sidecar, its plugins, its backend, and a GPU for it."""
    beside = Context(test.engine, context.outputs)  # the plugins are files of the engine's package
    return replace(
        action,
        inputs={
            **{name: context.input(test.engine, name) for name in ("engine", "sidecar")},
            **{f"plugins/{path}": beside.source(path) for path in plugins},
            **action.inputs,
        },
        outputs={"report": context.output(".json")},
        packages=(DISTRIBUTIONS[backend], *action.packages),
        warm_up=None,  # CUDA does not survive a fork
        requires={"gpu": test.arch},
    )


def open_engine(inputs: Mapping[str, Path], facts: Mapping[str, Any]) -> Session:
    """The engine among the inputs of such an action, on the GPU. Raises ActionError where it cannot run."""
    from enginewright.tensorrt.run import open_session

    return open_session(inputs["engine"], facts, [path for name, path in inputs.items() if name.startswith("plugins/")])
