"""onnx_file(): an ONNX file from elsewhere, as a model like those that onnx_model() exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from enginewright.errors import ActionError
from enginewright.graph.action import Action, WarmUp
from enginewright.graph.attributes import AttributeProblem, Function, Source
from enginewright.graph.rule import Context, declaration
from enginewright.model.pin import check_pin, verify_pin
from enginewright.model.shapes import Range, check_ranges
from enginewright.model.tolerance import Tolerance
from enginewright.rules.gate import GATE_PACKAGES, Gated
from enginewright.rules.samples import SampleFiles, check_samples, located_samples, sample_inputs, sample_params

if TYPE_CHECKING:
    from enginewright.model.samples import InputSpec

_TOLERANCE = Tolerance(cosine=0.9999)
_ADVICE = "This is not the model that the reference was computed with, or not on these inputs: check both, or leave reference out."


@dataclass(frozen=True, kw_only=True)
class OnnxFile(Gated):
    """The ONNX model in the file ``src``, checked, and in the canonical bytes of an export: its notes are left out.

    ``src`` is a file of the package, or ``dist://DISTRIBUTION/PATH``, whose ``sha256`` must be given. ``dims`` gives each dynamic
    dimension of the inputs, by the name it has in the file, its (min, opt, max).

    Its conversions are compared with the outputs in ``reference``, a .npz with arrays ``N/in/INPUT`` and ``N/out/OUTPUT`` for each
    sample N from 0, and so is the file itself. Without one, the reference is what the file itself computes, in ONNX Runtime, on
    ``samples``, which are declared as those of onnx_model() are, or drawn.
    """

    kind: ClassVar[str] = "onnx_file"
    provides: ClassVar[Mapping[str, str]] = {"onnx": ".onnx", "reference": ".reference.npz"}

    tolerance: Tolerance = _TOLERANCE
    src: Annotated[str, Source()]
    sha256: str | None = None
    dims: Mapping[str, Range] = field(default_factory=dict)
    reference: Annotated[str, Source()] | None = None
    samples: SampleFiles = ()
    preprocess: Annotated[str, Function()] | None = None

    def check(self) -> None:
        super().check()
        check_pin(self.src, self.sha256)
        check_ranges("dims", self.dims)
        check_samples("samples", self.samples, self.preprocess)
        if self.reference and self.samples:
            raise AttributeProblem("samples", "the reference has its own samples: leave one of them out")
        if self.metric and not self.reference:
            raise AttributeProblem("metric", "compares the file with a reference: declare reference too, or put it into its conversions")

    def provided(self) -> Mapping[str, str]:
        return {**self.provides, "parity": ".parity.json"} if self.reference else self.provides

    def action(self, context: Context) -> Action:
        declared = {"declared": context.source(self.reference)} if self.reference else {}
        return Action(
            mnemonic="OnnxFile",
            run="enginewright.rules.onnx_file:take_in",
            inputs={
                "src": context.source(self.src),
                **declared,
                **sample_inputs(context, self.samples, self.preprocess),
                **self.gate_inputs(context),
            },
            outputs={name: context.output(suffix) for name, suffix in self.provided().items()},
            params={
                "sha256": self.sha256,
                "dims": self.dims,
                "samples": sample_params(self.samples, self.preprocess),
                "gate": self.gate_params(),
            },
            packages=(*GATE_PACKAGES, *self.packages),
            warm_up=WarmUp("enginewright.rules.onnx_file:warm_up", GATE_PACKAGES),
        )


onnx_file = declaration(OnnxFile)


def warm_up() -> None:
    """Import what every file needs."""
    import onnxruntime  # noqa: F401

    from enginewright.model.gate import prove  # noqa: F401
    from enginewright.model.onnx_format import read_model  # noqa: F401


def take_in(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Check ``src`` and write it canonically, with its reference. Raises ActionError where it is not the ONNX model declared."""
    import onnxruntime

    from enginewright.model.gate import prove
    from enginewright.model.onnx_format import canonical_bytes, read_model
    from enginewright.model.reference import Reference, read_reference, write_reference
    from enginewright.model.runtime import outputs_of
    from enginewright.model.samples import declared, drawn, input_specs

    src = inputs["src"]
    verify_pin(src, params["sha256"])
    model = read_model(src)
    specs = input_specs(model)
    _check_dims(specs, params["dims"], src.name)
    content = canonical_bytes(model)
    if "declared" in inputs:
        reference = read_reference(inputs["declared"])
        prove(src.name, content, {**inputs, "reference": inputs["declared"]}, outputs["parity"], params["gate"], _ADVICE)
    else:
        samples = list(declared(*located_samples(inputs, params["samples"]), specs)) if params["samples"] else drawn(specs, params["dims"])
        reference = Reference(f"ONNX Runtime {onnxruntime.__version__}", samples, list(outputs_of(content, samples, src.name)))
    write_reference(outputs["reference"], reference)
    outputs["onnx"].write_bytes(content)


def _check_dims(specs: Sequence[InputSpec], dims: Mapping[str, Sequence[int]], file: str) -> None:
    named = {dim for spec in specs for dim in spec.shape if isinstance(dim, str)}
    if missing := sorted(named - set(dims)):
        raise ActionError(f"dims: dimension {missing[0]!r} of {file} has no range: add {missing[0]!r}: (min, opt, max)")
    if unknown := sorted(set(dims) - named):
        raise ActionError(f"dims: {unknown[0]!r} is no dimension of any input of {file} (there are: {', '.join(sorted(named)) or 'none'})")
