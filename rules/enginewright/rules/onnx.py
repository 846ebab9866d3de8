"""onnx_model(): a PyTorch module with its checkpoint, exported to ONNX.

What PyTorch writes is brought into canonical bytes (see `enginewright.model.onnx_format`): the same network and weights give the
same file. The module's own outputs on samples go into a file beside it, the reference that it and all its conversions are
compared with (see `enginewright.model.gate`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from enginewright.errors import ActionError
from enginewright.graph.action import Action, WarmUp
from enginewright.graph.attributes import AttributeProblem, Function, Needs
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, declaration
from enginewright.model.shapes import Range, TensorSpec, check_ranges
from enginewright.model.tolerance import Tolerance
from enginewright.model.user_code import explain, load_function, shown
from enginewright.rules.gate import GATE_PACKAGES, Gated
from enginewright.rules.samples import SampleFiles, check_samples, located_samples, sample_inputs, sample_params

if TYPE_CHECKING:
    import onnx
    import onnx_ir
    import torch
    from numpy.typing import NDArray

    from enginewright.model.samples import InputSpec, Sample

# A protobuf message ends at 2 GiB; what lies around the weights needs some of it.
_LARGEST_WEIGHTS = 2**31 - 2**24

_PACKAGES = (*GATE_PACKAGES, "torch", "onnxscript", "safetensors")

_TOLERANCE = Tolerance(cosine=0.9999)
_ADVICE = (
    "The exported model computes something else than the module: does forward() depend on values, or on sizes, in Python, "
    "or on chance? "
    "If what differs does not matter, declare what is acceptable, as tolerance=tolerance(max_abs=1e-3)."
)


@dataclass(frozen=True, kw_only=True)
class OnnxModel(Gated):
    """The network that ``module`` builds, with the weights of ``checkpoint``, as ONNX; its reference, and its parity with it.

    ``module`` is ``FILE.py:FUNCTION``, a function of no arguments that returns a `torch.nn.Module`; ``srcs`` are the files of
    the package that FILE.py imports, ``packages`` the distributions it imports (torch need not be named). ``inputs`` are the
    arguments of the module's forward(), in its order; ``outputs`` name what it returns. ``dims`` gives each named dimension of
    the inputs its (min, opt, max). ``opset`` is the version of the ONNX operators to use, and ``exporter`` which of PyTorch's
    exporters writes them: ``dynamo`` opset 18 and later, ``torchscript`` 16 and later, for parsers that know no newer ones.

    The reference is what the module itself gives, in the precision of its weights, on ``samples``: a .npz with an array for each
    input, or a .npy for a single one, whose first axis counts samples; a list of files, each of which ``preprocess``,
    ``FILE.py:FUNCTION``, makes a sample of; or ``FILE.py:FUNCTION``, a generator of samples. Without any they are drawn, always
    the same. See docs/parity.md.

    A model of more than 2 GiB needs ``external_data``: its weights then lie in an output of their own, ``NAME.onnx.data``.
    """

    kind: ClassVar[str] = "onnx_model"
    provides: ClassVar[Mapping[str, str]] = {"onnx": ".onnx", "reference": ".reference.npz", "parity": ".parity.json"}

    tolerance: Tolerance = _TOLERANCE
    checkpoint: Annotated[Label, Needs("checkpoint")]
    module: Annotated[str, Function()] = "net.py:build"
    inputs: Mapping[str, TensorSpec]
    outputs: tuple[str, ...]
    dims: Mapping[str, Range] = field(default_factory=dict)
    opset: int = 20
    exporter: Literal["dynamo", "torchscript"] = "dynamo"
    samples: SampleFiles = ()
    preprocess: Annotated[str, Function()] | None = None
    external_data: bool = False

    def check(self) -> None:
        super().check()
        check_samples("samples", self.samples, self.preprocess)
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
        if self.exporter == "dynamo" and self.opset < 18:
            hint = "exporter='torchscript' writes 16 and 17"
            raise AttributeProblem("opset", f"is {self.opset}: PyTorch's exporter writes opset 18 and later; {hint}")
        if self.exporter == "torchscript" and self.opset < 16:
            raise AttributeProblem("opset", f"is {self.opset}: expected 16 or later")
        if self.exporter == "torchscript" and self.external_data:
            raise AttributeProblem("external_data", "is for exporter='dynamo': the other exporter cannot write so large a model")

    def provided(self) -> Mapping[str, str]:
        return {**self.provides, "data": ".onnx.data"} if self.external_data else self.provides

    def action(self, context: Context) -> Action:
        file, _, function = self.module.partition(":")
        return Action(
            mnemonic="OnnxExport",
            run="enginewright.rules.onnx:export",
            inputs={
                "checkpoint": context.input(self.checkpoint, "checkpoint"),
                "module": context.source(file),
                **sample_inputs(context, self.samples, self.preprocess),
                **self.gate_inputs(context),
            },
            outputs={name: context.output(suffix) for name, suffix in self.provided().items()},
            params={
                "function": function,
                # Pairs: a JSON object has no order, and forward() takes its arguments in one.
                "inputs": tuple((name, spec.dtype, spec.shape) for name, spec in self.inputs.items()),
                "outputs": self.outputs,
                "dims": self.dims,
                "opset": self.opset,
                "exporter": self.exporter,
                "samples": sample_params(self.samples, self.preprocess),
                "gate": self.gate_params(),
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
    from enginewright.model.exporters import dynamo  # noqa: F401
    from enginewright.model.gate import prove  # noqa: F401
    from enginewright.model.onnx_format import read_model  # noqa: F401


def export(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Build the network, load its weights, export it, compute the reference and compare.

    Raises ActionError with the user's own file and line where they failed, and where the export is not within tolerance.
    """
    import torch

    from enginewright.model.exporters import dynamo, torchscript
    from enginewright.model.gate import judge, text_of
    from enginewright.model.reference import Reference, write_reference
    from enginewright.model.runtime import outputs_of
    from enginewright.model.samples import InputSpec, declared, drawn

    sys.dont_write_bytecode = True
    # Weights all come from the checkpoint; what a constructor draws for other constants must be the same each time.
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the order of sums, and with it the last digits of the reference, is that of one thread
    module = _build(inputs["module"], params["function"])
    _load_weights(module, inputs["checkpoint"], inputs["module"])
    module.eval()

    specs = [InputSpec(*spec) for spec in params["inputs"]]
    given = (module, specs, params["dims"], params["outputs"], params["opset"], inputs["module"])
    model: onnx.ModelProto | onnx_ir.Model = torchscript(*given) if params["exporter"] == "torchscript" else dynamo(*given)
    content = _written(model, outputs)

    samples = list(declared(*located_samples(inputs, params["samples"]), specs)) if params["samples"] else drawn(specs, params["dims"])
    expected = [_forward(module, sample, specs, params["outputs"], inputs["module"]) for sample in samples]
    reference = Reference(f"PyTorch {torch.__version__}", samples, expected)
    what = "the exported model"
    report = judge(what, outputs_of(content, samples, what), reference, params["gate"], inputs.get("metric"), _ADVICE)
    write_reference(outputs["reference"], reference)
    outputs["parity"].write_text(text_of(report), encoding="utf-8")
    if isinstance(content, bytes):
        outputs["onnx"].write_bytes(content)


def _written(model: onnx.ModelProto | onnx_ir.Model, outputs: Mapping[str, Path]) -> bytes | Path:
    """A model's canonical bytes, checked; or the file they are in already, when its weights have a file of their own."""
    import onnx_ir

    from enginewright.model.external_data import write
    from enginewright.model.onnx_format import canonical_bytes, check_model

    if isinstance(model, onnx_ir.Model):
        if "data" in outputs:
            write(model, outputs["onnx"], outputs["data"])
            return outputs["onnx"]
        size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
        if size > _LARGEST_WEIGHTS:
            raise ActionError(
                f"the model holds {size / 2**30:.1f} GiB of weights, and an ONNX file holds at most 2 GiB: set external_data=True, which "
                "puts the weights into a file of their own, or store them in a smaller type (module.half())"
            )
        model = onnx_ir.to_proto(model)
    content = canonical_bytes(model)
    check_model(model, "the exported model")
    return content


def _forward(
    module: torch.nn.Module, sample: Sample, specs: Sequence[InputSpec], names: Sequence[str], source: Path
) -> dict[str, NDArray[Any]]:
    """What the module gives for a sample, by the outputs' names; floats as float32."""
    import torch

    arguments = [torch.from_numpy(sample[spec.name]).to(getattr(torch, spec.dtype)) for spec in specs]
    try:
        with torch.no_grad():
            result = module(*arguments)
    except Exception as error:
        raise ActionError(explain(error, source, "the module could not be run on its samples")) from error
    # The same walk through tuples, dicts and the like that torch.export makes.
    tensors = [each for each in torch.utils._pytree.tree_leaves(result) if isinstance(each, torch.Tensor)]
    return {name: (each.float() if each.is_floating_point() else each).numpy() for name, each in zip(names, tensors, strict=True)}


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
