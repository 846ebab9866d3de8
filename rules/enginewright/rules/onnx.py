"""onnx_model(): a PyTorch module with its checkpoint, exported to ONNX.

The module is traced by ``torch.export`` and written by ``torch.onnx.export(dynamo=True)``, then brought into canonical bytes
(see `enginewright.model.onnx_format`): the same network and weights give the same file.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from enginewright.errors import ActionError
from enginewright.graph.action import Action, WarmUp
from enginewright.graph.attributes import AttributeProblem, Function, Needs, Source
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule, declaration
from enginewright.model.shapes import Range, TensorSpec, check_ranges
from enginewright.model.user_code import explain, load_function, shown

if TYPE_CHECKING:
    import onnx_ir
    import torch

# A protobuf message ends at 2 GiB; what lies around the weights needs some of it.
_LARGEST_WEIGHTS = 2**31 - 2**24

_PACKAGES = ("torch", "onnx", "onnxscript", "safetensors", "numpy")


@dataclass(frozen=True, kw_only=True)
class OnnxModel(Rule):
    """The network that ``module`` builds, with the weights of ``checkpoint``, as ONNX.

    ``module`` is ``FILE.py:FUNCTION``, a function of no arguments that returns a `torch.nn.Module`; ``srcs`` are the files of
    the package that FILE.py imports, ``packages`` the distributions it imports (torch need not be named). ``inputs`` are the
    arguments of the module's forward(), in its order; ``outputs`` name what it returns. ``dims`` gives each named dimension of
    the inputs its (min, opt, max). ``opset`` is the version of the ONNX operators to use.
    """

    kind: ClassVar[str] = "onnx_model"
    provides: ClassVar[Mapping[str, str]] = {"onnx": ".onnx"}

    checkpoint: Annotated[Label, Needs("checkpoint")]
    module: Annotated[str, Function()] = "net.py:build"
    inputs: Mapping[str, TensorSpec]
    outputs: tuple[str, ...]
    dims: Mapping[str, Range] = field(default_factory=dict)
    srcs: tuple[Annotated[str, Source()], ...] = ()
    packages: tuple[str, ...] = ()
    opset: int = 20

    def check(self) -> None:
        for attribute, names in (("inputs", tuple(self.inputs)), ("outputs", self.outputs)):
            if not names:
                raise AttributeProblem(attribute, "expected at least one")
        names = (*self.inputs, *self.outputs)
        for name in names:
            if not name or names.count(name) > 1:
                raise AttributeProblem("outputs", f"every input and output needs a name of its own: {name!r} is not")
        named = {dim for spec in self.inputs.values() for dim in spec.names}
        for dim in sorted(named - set(self.dims)):
            raise AttributeProblem("dims", f"dimension {dim!r} of inputs has no range: add {dim!r}: (min, opt, max)")
        for dim in sorted(set(self.dims) - named):
            raise AttributeProblem("dims", f"{dim!r} is no dimension of any input (there are: {', '.join(sorted(named)) or 'none'})")
        check_ranges("dims", self.dims)
        for dim, (least, _, most) in self.dims.items():
            if least == most:
                raise AttributeProblem(f"dims[{dim!r}]", f"leaves one size only: write {least} for {dim!r} in the shapes of inputs")
        if self.opset < 18:
            raise AttributeProblem("opset", f"is {self.opset}: PyTorch's exporter writes opset 18 and later")

    def action(self, context: Context) -> Action:
        file, _, function = self.module.partition(":")
        return Action(
            mnemonic="OnnxExport",
            run="enginewright.rules.onnx:export",
            inputs={
                "checkpoint": context.input(self.checkpoint, "checkpoint"),
                "module": context.source(file),
                **{f"srcs/{path}": context.source(path) for path in self.srcs},
            },
            outputs={"onnx": context.output(".onnx")},
            params={
                "function": function,
                # Pairs: a JSON object has no order, and forward() takes its arguments in one.
                "inputs": tuple((name, spec.dtype, spec.shape) for name, spec in self.inputs.items()),
                "outputs": self.outputs,
                "dims": self.dims,
                "opset": self.opset,
            },
            packages=(*_PACKAGES, *self.packages),
            warm_up=WarmUp("enginewright.rules.onnx:warm_up", _PACKAGES),
        )


onnx_model = declaration(OnnxModel)


def warm_up() -> None:
    """Import what every export needs, and export once: the first fills registries that take longer than a small export."""
    import torch

    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    with torch.no_grad():
        traced = torch.export.export(torch.nn.Linear(1, 1), (torch.zeros(1, 1),))
        torch.onnx.export(traced, opset_version=20, dynamo=True, verbose=False)
    from enginewright.model.onnx_format import canonical_bytes, check_model  # noqa: F401


def export(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Build the network, load its weights and export it. Raises ActionError with the user's own file and line where they failed."""
    import torch

    from enginewright.model.onnx_format import canonical_bytes, check_model

    sys.dont_write_bytecode = True
    # Weights all come from the checkpoint; what a constructor draws for other constants must be the same each time.
    torch.manual_seed(0)
    module = _build(inputs["module"], params["function"])
    _load_weights(module, inputs["checkpoint"], inputs["module"])
    module.eval()

    arguments, dynamic_shapes = _example(params["inputs"], params["dims"])
    try:
        # Given a module, torch.onnx.export() lets a dynamic dimension quietly become a constant; torch.export.export() refuses.
        traced = torch.export.export(module, arguments, dynamic_shapes=dynamic_shapes, strict=False)
        program = torch.onnx.export(traced, dynamic_shapes=dynamic_shapes, opset_version=params["opset"], dynamo=True, verbose=False)
    except Exception as error:
        raise ActionError(explain(error, inputs["module"], "the module could not be exported to ONNX")) from error
    assert program is not None
    if program.model.opset_imports[""] != params["opset"]:
        raise ActionError(f"PyTorch's exporter cannot write opset {params['opset']}: leave opset out, or choose one from 18 on that it can")
    size = sum(value.const_value.nbytes for value in program.model.graph.initializers.values() if value.const_value is not None)
    if size > _LARGEST_WEIGHTS:
        raise ActionError(
            f"the model holds {size / 2**30:.1f} GiB of weights, and an ONNX file holds at most 2 GiB: "
            "split the model, or store its weights in a smaller type (module.half())"
        )
    _name(program.model.graph, [name for name, _, _ in params["inputs"]], params["outputs"])
    model = program.model_proto
    content = canonical_bytes(model)
    check_model(model, "the exported model")
    outputs["onnx"].write_bytes(content)


def _build(source: Path, function: str) -> torch.nn.Module:
    import torch

    build = load_function(source, function)
    try:
        module = build()
    except Exception as error:
        raise ActionError(explain(error, source, f"{function}() failed")) from error
    if not isinstance(module, torch.nn.Module):
        raise ActionError(f"{shown(source)}: {function}() returned a {type(module).__name__}: expected a torch.nn.Module")
    return module


def _load_weights(module: torch.nn.Module, checkpoint: Path, source: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(checkpoint)
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        expected = module.state_dict()
        problems = [
            *_listed("not in the checkpoint", [name for name in expected if name not in tensors]),
            *_listed("in the checkpoint, but not in the module", [name for name in tensors if name not in expected]),
            *_listed(
                "of another shape",
                [
                    f"{name} (module {tuple(value.shape)}, checkpoint {tuple(tensors[name].shape)})"
                    for name, value in expected.items()
                    if name in tensors and value.shape != tensors[name].shape
                ],
            ),
        ]
        raise ActionError(
            f"the tensors of {checkpoint.name} do not fit the module that {shown(source)} builds:\n"
            + "\n".join(f"  {problem}" for problem in problems or [str(error)])
            + "\nBuild the network the checkpoint was trained as, with the same names"
        ) from None


def _listed(what: str, names: Sequence[str], limit: int = 5) -> list[str]:
    if not names:
        return []
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return [f"{what}: {', '.join(names[:limit])}{more}"]


def _example(specs: Sequence[Any], dims: Mapping[str, Sequence[int]]) -> tuple[tuple[torch.Tensor, ...], tuple[dict[int, Any], ...]]:
    """Arguments to trace forward() with, and which of their dimensions are dynamic.

    torch.export takes a dimension of size 1 for a constant, and the values of the tensors do not matter.
    """
    import torch

    symbols = {name: torch.export.Dim(name, min=least, max=most) for name, (least, _, most) in dims.items()}
    sizes = {name: max(usual, 2) for name, (_, usual, _) in dims.items()}
    arguments, dynamic = [], []
    for _, dtype, shape in specs:
        arguments.append(torch.zeros([dim if isinstance(dim, int) else sizes[dim] for dim in shape], dtype=getattr(torch, dtype)))
        dynamic.append({axis: symbols[dim] for axis, dim in enumerate(shape) if isinstance(dim, str)})
    return tuple(arguments), tuple(dynamic)


def _name(graph: onnx_ir.Graph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give the graph's inputs and outputs their declared names, and values that have those names already others.

    The exporter's own ``output_names`` lets an output share its name with an inner value, which makes the graph invalid.
    """
    for what, values, names in (("inputs", graph.inputs, inputs), ("outputs", graph.outputs, outputs)):
        if len(values) != len(names):
            raise ActionError(f"the module has {len(values)} {what}, and {what} declares {len(names)}: {', '.join(names)}. Declare all")
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
