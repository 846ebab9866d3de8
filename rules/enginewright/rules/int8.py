"""int8(): a model with its matrix products and convolutions in 8 bits, ONNX to ONNX.

The quantisation is explicit: QuantizeLinear and DequantizeLinear around each operator that computes in int8, with scales that
come from running the model on calibration data. The settings are those that TensorRT takes: symmetric, weights per channel,
biases left alone, and outputs of the operators not quantised a second time.
"""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from enginewright.errors import ActionError
from enginewright.graph.action import Action, WarmUp
from enginewright.graph.attributes import AttributeProblem, Function
from enginewright.graph.rule import Context, declaration
from enginewright.model.tolerance import Tolerance
from enginewright.rules.conversion import Conversion
from enginewright.rules.gate import GATE_PACKAGES
from enginewright.rules.samples import SampleFiles, check_samples, located_samples, sample_inputs, sample_params

if TYPE_CHECKING:
    import onnx

    from enginewright.model.samples import Sample

_PACKAGES = (*GATE_PACKAGES, "onnx-ir")

_QUANTISED = ("Conv", "Gemm", "MatMul")

_ON_THEIR_OWN = (
    "tools.symbolic_shape_infer",
    *(f"transformers.{name}" for name in ("float16", "shape_infer_helper", "onnx_model", "fusion_utils")),
)
"""Each imports those before it."""

_TOLERANCE = Tolerance(cosine=0.99)
_ADVICE = (
    "Calibrate on inputs as the model will meet them, and more of them; keep the operators that matter most, often the first and the "
    'last, in float32, as exclude_ops=["node_linear_1"]; or declare what is acceptable, as tolerance=tolerance(cosine=0.98).'
)


@dataclass(frozen=True, kw_only=True)
class Int8(Conversion):
    """``model``, in float32, with Conv, Gemm and MatMul in int8, and its parity with the reference.

    Scales come from ``calibration``, which is declared as the ``samples`` of onnx_model() are: a .npz or .npy file, a list of
    files and ``preprocess``, or a generator. Its files are inputs of the action. Operators that ``exclude_ops`` names, by type or
    by name, stay in float32. Inputs, outputs and all else stay in float32; fp16() makes them float16, which sm_75 needs.
    """

    kind: ClassVar[str] = "int8"

    tolerance: Tolerance = _TOLERANCE
    calibration: SampleFiles
    preprocess: Annotated[str, Function()] | None = None

    def check(self) -> None:
        super().check()
        if not self.calibration:
            raise AttributeProblem("calibration", "expected a .npz or .npy file, a list of files, or FILE.py:FUNCTION")
        check_samples("calibration", self.calibration, self.preprocess)

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="Int8",
            run="enginewright.rules.int8:convert",
            inputs={**self.conversion_inputs(context), **sample_inputs(context, self.calibration, self.preprocess)},
            outputs=self.conversion_outputs(context),
            params={
                "exclude_ops": tuple(sorted(self.exclude_ops)),
                "calibration": sample_params(self.calibration, self.preprocess),
                "gate": self.gate_params(),
            },
            packages=(*_PACKAGES, *self.packages),
            warm_up=WarmUp("enginewright.rules.int8:warm_up", _PACKAGES),
        )


int8 = declaration(Int8)


def warm_up() -> None:
    """Import what every conversion needs."""
    _import_quantization()
    from enginewright.model.gate import prove  # noqa: F401
    from enginewright.model.onnx_format import read_model  # noqa: F401


def convert(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Calibrate and quantise ``model``. Raises ActionError where it is not ONNX in float32, has nothing to quantise, has no
    operator that ``exclude_ops`` names, where the calibration data do not fit it, or the result is not within tolerance."""
    from onnx import TensorProto

    from enginewright.model.external_data import read_with_data, write
    from enginewright.model.gate import prove
    from enginewright.model.onnx_format import canonical_bytes, check_model, read_model
    from enginewright.model.operators import named
    from enginewright.model.samples import declared, input_specs

    file, data = inputs["model"].name, inputs.get("data")
    model = read_with_data(inputs["model"], data) if data else read_model(inputs["model"])
    if any(weight.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16) for weight in model.graph.initializer):
        raise ActionError(f"{file} has weights of 16 bits: quantise the float32 model, and then make the result 16 bits wide: int8() first")
    excluded = named(model, params["exclude_ops"], "exclude_ops", file)
    types = [each for each in _QUANTISED if each not in excluded.types]
    if not any(node.op_type in types and node.name not in excluded.names for node in model.graph.node):
        raise ActionError(f"{file} has no operator to quantise: none of {', '.join(_QUANTISED)} that exclude_ops leaves")
    _say_kernel_shapes(model)
    samples = declared(*located_samples(inputs, params["calibration"]), input_specs(model))
    quantised = _quantise(model, data, types, excluded.names, samples)
    content: bytes | Path = outputs["onnx"]
    if data is not None:
        import onnx_ir

        write(onnx_ir.from_proto(quantised), outputs["onnx"], outputs["data"])
    else:
        content = canonical_bytes(quantised)
        check_model(quantised, "the int8 model")
    if "reference" in inputs:
        prove("the int8 model", content, inputs, outputs["parity"], params["gate"], _ADVICE)
    if isinstance(content, bytes):
        outputs["onnx"].write_bytes(content)


def _say_kernel_shapes(model: onnx.ModelProto) -> None:
    """Write down what a convolution can leave out when its weights are constants, as they are no longer: TensorRT 8 needs it then."""
    from onnx.helper import make_attribute

    dims = {weight.name: weight.dims for weight in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in dims and all(each.name != "kernel_shape" for each in node.attribute):
            node.attribute.append(make_attribute("kernel_shape", dims[node.input[1]][2:]))


def _quantise(model: onnx.ModelProto, data: Path | None, types: list[str], kept: list[str], samples: Iterator[Sample]) -> onnx.ModelProto:
    """A model with Q/DQ around these types of operators. Its weights are in ``data``, or in it."""
    import onnx

    quantization = _import_quantization()

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        """Samples, as ONNX Runtime asks for them."""

        def get_next(self) -> Sample | None:
            return next(samples, None)

    with tempfile.TemporaryDirectory() as folder:
        given: onnx.ModelProto | str = model
        if data is not None:  # which onnx reads from no file that has another name as well, as an input has
            given = f"{folder}/float32.onnx"
            onnx.save(model, given)
            shutil.copyfile(data, Path(folder, data.name))
        quantization.quantize_static(
            given,
            f"{folder}/int8.onnx",
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=types,
            nodes_to_exclude=kept,
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            use_external_data_format=data is not None,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,  # TensorRT's parser rejects an int32 DequantizeLinear
                "OpTypesToExcludeOutputQuantization": types,  # quantised twice, EfficientNet loses 15 % of its cosine
            },
        )
        return onnx.load(f"{folder}/int8.onnx")


def _import_quantization() -> Any:
    """onnxruntime.quantization, which imports modules of onnxruntime as if each were one on its own.

    Among the distributions that an action may import there is none of such a name.
    """
    for module in _ON_THEIR_OWN:
        # Those for shapes need sympy, which only the versions that import them require.
        with suppress(ImportError):
            sys.modules.setdefault(module.rpartition(".")[2], importlib.import_module(f"onnxruntime.{module}"))
    return importlib.import_module("onnxruntime.quantization")
