"""PyTorch's two exporters to ONNX, with one meaning of names and dynamic dimensions.

``dynamo`` traces with ``torch.export`` and writes opset 18 and later. ``torchscript`` is the older one, which PyTorch calls
deprecated; it writes the older opsets that older parsers need (TensorRT 8.5's stops at 17). It lets a dynamic dimension quietly
become a constant where the network's code says so, which the parity gate finds, because it tries two sizes.
"""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginewright.errors import ActionError
from enginewright.model.samples import InputSpec
from enginewright.model.user_code import explain

if TYPE_CHECKING:
    import onnx
    import onnx_ir
    import torch

Ranges = Mapping[str, Sequence[int]]


def dynamo(
    module: torch.nn.Module, specs: Sequence[InputSpec], dims: Ranges, outputs: Sequence[str], opset: int, source: Path
) -> onnx_ir.Model:
    """Export with ``torch.export``. Raises ActionError, with the user's own lines in ``source``, where that fails."""
    import torch

    arguments, dynamic_shapes = _example(specs, dims)
    try:
        # Given a module, torch.onnx.export() lets a dynamic dimension quietly become a constant; torch.export.export() refuses.
        traced = torch.export.export(module, arguments, dynamic_shapes=dynamic_shapes, strict=False)
        program = torch.onnx.export(traced, dynamic_shapes=dynamic_shapes, opset_version=opset, dynamo=True, verbose=False)
    except Exception as error:
        raise ActionError(explain(error, source, "the module could not be exported to ONNX")) from error
    assert program is not None
    if program.model.opset_imports[""] != opset:
        raise ActionError(f"PyTorch's exporter cannot write opset {opset}: leave opset out, or choose one from 18 on that it can")
    _name(program.model.graph, [spec.name for spec in specs], outputs)
    return program.model


def torchscript(
    module: torch.nn.Module, specs: Sequence[InputSpec], dims: Ranges, outputs: Sequence[str], opset: int, source: Path
) -> onnx.ModelProto:
    """Export with TorchScript. Raises ActionError as `dynamo` does, and for a module with another number of outputs."""
    import onnx
    import torch

    arguments, _ = _example(specs, dims)
    axes = {spec.name: {axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, str)} for spec in specs}
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is deprecated, and that Python's values become constants
            torch.onnx.export(
                module, arguments, f"{folder}/exported.onnx", dynamo=False, opset_version=opset, verbose=False,
                input_names=[spec.name for spec in specs], output_names=list(outputs), dynamic_axes=axes,
            )  # fmt: skip
            model = onnx.load_model(f"{folder}/exported.onnx")
    except Exception as error:
        raise ActionError(explain(error, source, "the module could not be exported to ONNX")) from error
    for what, values, names in (
        ("inputs", model.graph.input, [spec.name for spec in specs]),
        ("outputs", model.graph.output, list(outputs)),
    ):
        if [value.name for value in values] != names:
            raise _count(what, len(values), names)
    return model


def _example(specs: Sequence[InputSpec], dims: Ranges) -> tuple[tuple[torch.Tensor, ...], tuple[dict[int, Any], ...]]:
    """Arguments to trace forward() with, and which of their dimensions are dynamic.

    torch.export takes a dimension of size 1 for a constant, and the values of the tensors do not matter.
    """
    import torch

    symbols = {name: torch.export.Dim(name, min=least, max=most) for name, (least, _, most) in dims.items()}
    sizes = {name: max(usual, 2) for name, (_, usual, _) in dims.items()}
    arguments, dynamic = [], []
    for spec in specs:
        shape = [dim if isinstance(dim, int) else sizes[dim] for dim in spec.shape]
        arguments.append(torch.zeros(shape, dtype=getattr(torch, spec.dtype)))
        dynamic.append({axis: symbols[dim] for axis, dim in enumerate(spec.shape) if isinstance(dim, str)})
    return tuple(arguments), tuple(dynamic)


def _name(graph: onnx_ir.Graph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give the graph's inputs and outputs their declared names, and values that have those names already others.

    The exporter's own ``output_names`` lets an output share its name with an inner value, which makes the graph invalid.
    """
    for what, values, names in (("inputs", graph.inputs, inputs), ("outputs", graph.outputs, outputs)):
        if len(values) != len(names):
            raise _count(what, len(values), names)
    wanted = {*inputs, *outputs}
    ours = [*graph.inputs, *graph.outputs]
    others = [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]
    taken = wanted.union(value.name for value in [*ours, *others] if value.name)
    for value in others:
        if value.name in wanted and not any(value is our for our in ours):
            value.name = next(name for i in itertools.count(1) if (name := f"{value.name}_{i}") not in taken)
            taken.add(value.name)
    # By way of names nobody has, because one input may be named as another is to be.
    for prefix in ("\0", ""):
        for value, name in zip(ours, [*inputs, *outputs], strict=True):
            value.name = prefix + name


def _count(what: str, found: int, names: Sequence[str]) -> ActionError:
    return ActionError(f"the module has {found} {what}, and {what} declares {len(names)}: {', '.join(names)}. Declare all")
