"""What tests that run an engine on a GPU have in common: which engine, on which GPU, with what installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, make_dataclass, replace
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

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        label, engine = find_engine(self.engine, self.arch, lookup)
        found = {"engine": label, "arch": engine.arch, "backend": engine.backend, "plugins": engine.plugins}
        yield _resolved(type(self))(**{**vars(self), **found})

    def run(self, context: Context) -> Action:
        """The action, with what is this test's own: inputs beside the engine, parameters, distributions."""
        raise TypeError(f"{self.kind} does not say what it runs")


def _resolved(kind: type[EngineRun]) -> type[EngineRun]:
    """Tests of a kind that have one engine, whose ``backend`` and ``plugins`` are known. In a BUILD.py there are no such attributes."""
    known = [("backend", str), ("plugins", tuple[str, ...])]
    made: type[EngineRun] = make_dataclass(kind.__name__, known, bases=(kind,), namespace={"action": _action}, frozen=True, kw_only=True)
    return made


def _action(test: Any, context: Context) -> Action:
    """What a test runs, with what running its engine takes: it and its sidecar, its plugins, its backend, and a GPU for it."""
    own: Action = test.run(context)
    beside = Context(test.engine, context.outputs)  # the plugins are files of the engine's package
    return replace(
        own,
        inputs={
            **{name: context.input(test.engine, name) for name in ("engine", "sidecar")},
            **{f"plugins/{path}": beside.source(path) for path in test.plugins},
            **own.inputs,
        },
        outputs={"report": context.output(".json")},
        packages=(DISTRIBUTIONS[test.backend], *own.packages),
        warm_up=None,  # CUDA does not survive a fork
        requires={"gpu": test.arch},
    )


def open_engine(inputs: Mapping[str, Path], facts: Mapping[str, Any]) -> Session:
    """The engine among the inputs of such an action, on the GPU. Raises ActionError where it cannot run."""
    from enginewright.tensorrt.run import open_session

    return open_session(inputs["engine"], facts, [path for name, path in inputs.items() if name.startswith("plugins/")])


def ran(session: Session) -> dict[str, Any]:
    """What a report says of what ran, and on what."""
    facts = session.facts
    return {
        "arch": facts["arch"],
        "gpu": session.cuda.name,
        "backend": facts["backend"],
        "engine": facts["engine"]["sha256"],
        "precision": facts["precision"],
    }
