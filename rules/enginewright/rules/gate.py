"""What every rule with a parity gate shares: the attributes that declare it, and how it is put into an action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from enginewright.graph.action import Artifact, Value
from enginewright.graph.attributes import AttributeProblem, Function, Source
from enginewright.graph.rule import Context, Rule
from enginewright.model.tolerance import Tolerance

GATE_PACKAGES = ("onnxruntime", "onnx", "numpy")


@dataclass(frozen=True, kw_only=True)
class Gated(Rule):
    """A rule whose model is compared with a reference, on the same samples, each time it is built.

    ``tolerance`` is what each output may differ by, on each sample. ``metric``, ``FILE.py:FUNCTION``, computes a number from the
    reference's outputs and the model's, each a list with a dict of arrays for each sample; it must be at least ``floor``.
    ``srcs`` are the files of the package that the functions' files import, ``packages`` the distributions.
    """

    tolerance: Tolerance
    metric: Annotated[str, Function()] | None = None
    floor: float | None = None
    srcs: tuple[Annotated[str, Source()], ...] = ()
    packages: tuple[str, ...] = ()

    def check(self) -> None:
        if (self.metric is None) != (self.floor is None):
            missing = "metric" if self.metric is None else "floor"
            raise AttributeProblem(missing, "missing: metric is a function, and floor the least that it may return")

    def gate_inputs(self, context: Context) -> Mapping[str, Artifact]:
        """The files that the gate reads, but for model and reference."""
        found = {f"srcs/{path}": context.source(path) for path in self.srcs}
        return found if self.metric is None else {**found, "metric": context.source(self.metric.partition(":")[0])}

    def gate_params(self) -> Mapping[str, Value]:
        """What `enginewright.model.gate.judge` is given."""
        function = None if self.metric is None else self.metric.partition(":")[2]
        return {"tolerance": self.tolerance.plain(), "metric": function, "floor": self.floor}
