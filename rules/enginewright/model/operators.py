"""Naming operators of a model: by type, as ``BatchNormalization``, or one alone, by its name in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from enginewright.errors import ActionError
from enginewright.graph.attributes import did_you_mean

if TYPE_CHECKING:
    import onnx


class Operators(NamedTuple):
    """``types`` of operators, and ``names`` of single ones, each sorted."""

    types: list[str]
    names: list[str]

    def hold(self, node: onnx.NodeProto) -> bool:
        """Whether a node is one of these."""
        return node.op_type in self.types or node.name in self.names


def named(model: onnx.ModelProto, wanted: Sequence[str], attribute: str, file: str) -> Operators:
    """The operators of a model that ``attribute`` names. Raises ActionError for what is neither a type nor a name in ``file``."""
    types = {node.op_type for node in model.graph.node}
    names = {node.name for node in model.graph.node if node.name}
    for each in wanted:
        if each not in types | names:
            raise ActionError(f"{attribute}: no operator of {file} has the type {each!r}{did_you_mean(each, types)}, and none that name")
    return Operators(sorted(types.intersection(wanted)), sorted(names.intersection(wanted).difference(types)))
