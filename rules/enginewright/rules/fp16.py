"""fp16(): a model in half precision, ONNX to ONNX.

TensorRT's networks are strongly typed: the precision of an engine is that of the tensors in its ONNX file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from enginewright.graph.action import Action, WarmUp
from enginewright.graph.rule import Context, declaration
from enginewright.model.tolerance import Tolerance
from enginewright.rules.conversion import Conversion
from enginewright.rules.gate import GATE_PACKAGES

_PACKAGES = (*GATE_PACKAGES, "onnx-ir")

_TOLERANCE = Tolerance(cosine=0.999)
_ADVICE = (
    "Values beyond 65504 become infinite in float16, and those below 6e-8 zero: keep the operators with such values in float32, as "
    'exclude_ops=["BatchNormalization"]; use bf16(); or declare what is acceptable, as tolerance=tolerance(cosine=0.99).'
)


@dataclass(frozen=True, kw_only=True)
class Fp16(Conversion):
    """``model`` with its float32 weights, inputs, outputs and inner tensors in float16, and its parity with the reference.

    Operators that ``exclude_ops`` names, by type, as ``"BatchNormalization"``, or by name, stay in float32, between casts: for
    those whose values leave the range of float16 (largest 65504). On sm_75 TensorRT-RTX has no float32 matrix product, so leave
    MatMul and Gemm out. An int8() model, which needs opset 19 or later for it, becomes one in int8 and float16.
    """

    kind: ClassVar[str] = "fp16"

    tolerance: Tolerance = _TOLERANCE

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="Fp16",
            run="enginewright.rules.fp16:convert",
            inputs=self.conversion_inputs(context),
            outputs=self.conversion_outputs(context),
            params={"exclude_ops": tuple(sorted(self.exclude_ops)), "gate": self.gate_params()},
            packages=(*_PACKAGES, *self.packages),
            warm_up=WarmUp("enginewright.rules.fp16:warm_up", _PACKAGES),
        )


fp16 = declaration(Fp16)


def warm_up() -> None:
    """Import what every conversion needs."""
    from onnxruntime.transformers import float16  # noqa: F401

    from enginewright.model.gate import prove  # noqa: F401
    from enginewright.model.onnx_format import read_model  # noqa: F401


def convert(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Convert ``model`` to float16. Raises ActionError where it is not ONNX, has no operator that ``exclude_ops`` names, or
    where the result is not within tolerance of the reference."""
    import onnx_ir
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    from enginewright.model.external_data import read_typed, write
    from enginewright.model.gate import prove
    from enginewright.model.onnx_format import canonical_bytes, check_model, read_model
    from enginewright.model.operators import named

    large = "data" in inputs
    model = read_typed(inputs["model"], inputs["data"]) if large else read_model(inputs["model"])
    excluded = named(model, params["exclude_ops"], "exclude_ops", inputs["model"].name)
    # Inputs and outputs are converted too: as float32, each would cost a cast at run time.
    converted = convert_float_to_float16(
        model,
        keep_io_types=False,
        disable_shape_infer=large,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *excluded.types],
        node_block_list=excluded.names,
    )
    # It appends the casts around operators that stay in float32 to the end of the graph.
    unsorted = onnx_ir.from_proto(converted)
    unsorted.graph.sort()
    content: bytes | Path = outputs["onnx"]
    if large:
        write(unsorted, outputs["onnx"], outputs["data"])
    else:
        converted = onnx_ir.to_proto(unsorted)
        content = canonical_bytes(converted)
        check_model(converted, "the float16 model")
    if "reference" in inputs:
        prove("the float16 model", content, inputs, outputs["parity"], params["gate"], _ADVICE)
    if isinstance(content, bytes):
        outputs["onnx"].write_bytes(content)
