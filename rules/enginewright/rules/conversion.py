"""What the rules that turn one ONNX model into another share: the model, its reference, and the gate between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from enginewright.graph.action import Artifact
from enginewright.graph.attributes import AttributeProblem, Needs
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Lookup, Rule
from enginewright.rules.gate import Gated


@dataclass(frozen=True, kw_only=True)
class Conversion(Gated):
    """``model`` in another precision. Operators that ``exclude_ops`` names, by type or by their own name, stay as they are.

    It is compared with the ``reference`` that the onnx_model() or onnx_file() at the start of the model's chain provides, unless
    another is named; where neither is, as for a model that a python_action() makes, there is no gate and no report.
    """

    provides: ClassVar[Mapping[str, str]] = {"onnx": ".onnx", "parity": ".parity.json"}
    model: Annotated[Label, Needs("onnx")]
    exclude_ops: tuple[str, ...] = ()
    reference: Annotated[Label, Needs("reference")] | None = None

    def provided(self) -> Mapping[str, str]:
        return self.provides if self.reference else {"onnx": self.provides["onnx"]}

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        yield self if self.reference else replace(self, reference=_reference(self.model, lookup))

    def conversion_inputs(self, context: Context) -> Mapping[str, Artifact]:
        """The model, and what the gate reads."""
        found = {**self._data(context), "model": context.input(self.model, "onnx"), **self.gate_inputs(context)}
        return {**found, "reference": context.input(self.reference, "reference")} if self.reference else found

    def conversion_outputs(self, context: Context) -> Mapping[str, Artifact]:
        """What is provided, and a file for the weights where the model has one."""
        found = {name: context.output(suffix) for name, suffix in self.provided().items()}
        return {**found, "data": context.output(".onnx.data")} if self._data(context) else found

    def _data(self, context: Context) -> Mapping[str, Artifact]:
        """The file of the model's weights, where it has one of its own."""
        return {name: artifact for name, artifact in context.outputs(self.model).items() if name == "data"}


def _reference(model: Label, lookup: Lookup) -> Label | None:
    """The first target up a model's chain of models that provides a reference; None where none does."""
    seen: set[Label] = set()
    while model not in seen:
        seen.add(model)
        try:
            rule = lookup(model)
        except AttributeProblem as problem:
            raise AttributeProblem("model", problem.problem) from None
        if "reference" in rule.provided():
            return model
        source = getattr(rule, "model", None)
        if not isinstance(source, Label):
            return None
        model = source
    return None  # a cycle, which analysis finds
