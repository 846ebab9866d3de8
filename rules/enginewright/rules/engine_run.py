"""What tests that run an engine on a GPU have in common: which engine, on which GPU, with what installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from enginewright.graph.action import Action, Artifact, Value
from enginewright.graph.attributes import Needs
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Lookup, Rule
from enginewright.rules.engine import find_engine
from enginewright.tensorrt.backend import DISTRIBUTIONS


@dataclass(frozen=True, kw_only=True)
class EngineRun(Rule):
    """``engine`` is one engine, as ``":engine_sm_90"``, or a tensorrt_engine() together with ``arch``."""

    provides: ClassVar[Mapping[str, str]] = {"report": ".json"}

    engine: Annotated[Label, Needs("engine")]
    arch: str = ""

    def found(self, lookup: Lookup) -> dict[str, object]:
        """The attributes of this declaration and of the `Resolved` one that it stands for."""
        label, engine = find_engine(self.engine, self.arch, lookup)
        return {**vars(self), "engine": label, "arch": engine.arch, "backend": engine.backend}


def run_action(
    context: Context,
    mnemonic: str,
    rule: EngineRun,
    backend: str,
    run: str,
    more_inputs: Mapping[str, Artifact],
    params: Mapping[str, Value],
    packages: tuple[str, ...] = (),
) -> Action:
    """The action that calls ``run``, ``module:function``, with the engine and its sidecar where there is a GPU for it."""
    return Action(
        mnemonic=mnemonic,
        run=run,
        inputs={**{name: context.input(rule.engine, name) for name in ("engine", "sidecar")}, **more_inputs},
        outputs={"report": context.output(".json")},
        params=params,
        packages=(DISTRIBUTIONS[backend], *packages),
        warm_up=None,  # CUDA does not survive a fork
        requires={"gpu": rule.arch},
    )
