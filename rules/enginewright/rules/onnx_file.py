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
    import onnx

    from enginewright.model.samples import InputSpec

_PACKAGES = (*GATE_PACKAGES, "onnx-ir")

_TOLERANCE = Tolerance(cosine=0.9999)
_ADVICE = "This is not the model that the reference was computed with, or not on these inputs: check both, or leave reference out."


@dataclass(frozen=True, kw_only=True)
class OnnxFile(Gated):
    """The ONNX model in the file ``src``, checked, and in the canonical bytes of an export: its notes are left out.

    ``src`` is a file of the package, or ``dist://DISTRIBUTION/PATH``, whose ``sha256`` must be given. ``dims`` gives each dynamic
    dimension of the inputs, by the name it has in the file, its (min, opt, max). ``data`` is the file that has the weights, where
    they are not in ``src``, as they cannot be beyond 2 GiB; it is in the same folder, and pinned by ``data_sha256``.

    Its conversions are compared with the outputs in ``reference``, a .npz with arrays ``N/in/INPUT`` and ``N/out/OUTPUT`` for each
    sample N from 0, and so is the file itself. Without one, the reference is what the file itself computes, in ONNX Runtime, on
    ``samples``, which are declared as those of onnx_model() are, or drawn.
    """

    kind: ClassVar[str] = "onnx_file"
    provides: ClassVar[Mapping[str, str]] = {"onnx": ".onnx", "reference": ".reference.npz"}

    tolerance: Tolerance = _TOLERANCE
    src: Annotated[str, Source()]
    sha256: str | None = None
    data: Annotated[str, Source()] | None = None
    data_sha256: str | None = None
    dims: Mapping[str, Range] = field(default_factory=dict)
    reference: Annotated[str, Source()] | None = None
    samples: SampleFiles = ()
    preprocess: Annotated[str, Function()] | None = None

    def check(self) -> None:
        super().check()
        check_pin(self.src, self.sha256)
        if self.data is not None:
            check_pin(self.data, self.data_sha256, "data_sha256")
            if self.data.rpartition("/")[0] != self.src.rpartition("/")[0]:
                raise AttributeProblem("data", f"{self.data!r} is not in the folder of {self.src!r}: an ONNX file names what is beside it")
        elif self.data_sha256 is not None:
            raise AttributeProblem("data_sha256", "is the pin of data, and there is none")
        check_ranges("dims", self.dims)
        check_samples("samples", self.samples, self.preprocess)
        if self.reference and self.samples:
            raise AttributeProblem("samples", "the reference has its own samples: leave one of them out")
        if self.metric and not self.reference:
            raise AttributeProblem("metric", "compares the file with a reference: declare reference too, or put it into its conversions")

    def provided(self) -> Mapping[str, str]:
        more = {**({"data": ".onnx.data"} if self.data else {}), **({"parity": ".parity.json"} if self.reference else {})}
        return {**self.provides, **more}

    def action(self, context: Context) -> Action:
        declared = {"declared": context.source(self.reference)} if self.reference else {}
        return Action(
            mnemonic="OnnxFile",
            run="enginewright.rules.onnx_file:take_in",
            inputs={
                "src": context.source(self.src),
                **({"data": context.source(self.data)} if self.data else {}),
                **declared,
                **sample_inputs(context, self.samples, self.preprocess),
                **self.gate_inputs(context),
            },
            outputs={name: context.output(suffix) for name, suffix in self.provided().items()},
            params={
                "sha256": self.sha256,
                "data_sha256": self.data_sha256,
                "dims": self.dims,
                "samples": sample_params(self.samples, self.preprocess),
                "gate": self.gate_params(),
            },
            packages=(*_PACKAGES, *self.packages),
            warm_up=WarmUp("enginewright.rules.onnx_file:warm_up", _PACKAGES),
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

    from enginewright.model.external_data import read_typed, read_with_data, write
    from enginewright.model.gate import prove
    from enginewright.model.onnx_format import canonical_bytes
    from enginewright.model.reference import Reference, read_reference, write_reference
    from enginewright.model.runtime import outputs_of
    from enginewright.model.samples import declared, drawn, input_specs

    src, data = inputs["src"], inputs.get("data")
    verify_pin(src, params["sha256"])
    if data is not None:
        verify_pin(data, params["data_sha256"])
    model = read_with_data(src, data) if data else _read_whole(src)
    specs = input_specs(model)
    _check_dims(specs, params["dims"], src.name)
    content: bytes | Path = outputs["onnx"]
    if data is not None:
        import onnx_ir

        write(onnx_ir.from_proto(read_typed(src, data)), outputs["onnx"], outputs["data"])
    else:
        content = canonical_bytes(model)
    if "declared" in inputs:
        reference = read_reference(inputs["declared"])
        prove(src.name, content, {**inputs, "reference": inputs["declared"]}, outputs["parity"], params["gate"], _ADVICE)
    else:
        samples = list(declared(*located_samples(inputs, params["samples"]), specs)) if params["samples"] else drawn(specs, params["dims"])
        reference = Reference(f"ONNX Runtime {onnxruntime.__version__}", samples, list(outputs_of(content, samples, src.name)))
    write_reference(outputs["reference"], reference)
    if isinstance(content, bytes):
        outputs["onnx"].write_bytes(content)


def _read_whole(src: Path) -> onnx.ModelProto:
    """A model in one file. Raises ActionError where it is none, or has its weights elsewhere."""
    from enginewright.model.onnx_format import check_model, parse_model

    model = parse_model(src)
    for weight in model.graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location":
                raise ActionError(f"{src.name} has its weights in another file, {entry.value!r}: declare it as data={entry.value!r}")
    check_model(model, src.name)
    return model


def _check_dims(specs: Sequence[InputSpec], dims: Mapping[str, Sequence[int]], file: str) -> None:
    named = {dim for spec in specs for dim in spec.shape if isinstance(dim, str)}
    if missing := sorted(named - set(dims)):
        raise ActionError(f"dims: dimension {missing[0]!r} of {file} has no range: add {missing[0]!r}: (min, opt, max)")
    if unknown := sorted(set(dims) - named):
        raise ActionError(f"dims: {unknown[0]!r} is no dimension of any input of {file} (there are: {', '.join(sorted(named)) or 'none'})")
