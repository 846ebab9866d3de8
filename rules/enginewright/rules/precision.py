"""fp16(): a model in half precision, ONNX to ONNX.

TensorRT's networks are strongly typed: the precision of an engine is that of the tensors in its ONNX file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from enginewright.errors import ActionError
from enginewright.graph.action import Action, WarmUp
from enginewright.graph.attributes import Needs, did_you_mean
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule, declaration

_PACKAGES = ("onnx", "onnx-ir", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class Fp16(Rule):
    """``model`` with its float32 weights, inputs, outputs and inner tensors in float16.

    Operators whose type is in ``exclude_ops``, as ``"BatchNormalization"``, stay in float32, between casts: for those whose values
    leave the range of float16 (largest 65504). On sm_75 TensorRT-RTX has no float32 matrix product, so leave MatMul and Gemm out.
    """

    kind: ClassVar[str] = "fp16"
    provides: ClassVar[Mapping[str, str]] = {"onnx": ".onnx"}

    model: Annotated[Label, Needs("onnx")]
    exclude_ops: tuple[str, ...] = ()

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="Fp16",
            run="enginewright.rules.precision:convert",
            inputs={"model": context.input(self.model, "onnx")},
            outputs={"onnx": context.output(".onnx")},
            params={"exclude_ops": tuple(sorted(self.exclude_ops))},
            packages=_PACKAGES,
            warm_up=WarmUp("enginewright.rules.precision:warm_up", _PACKAGES),
        )


fp16 = declaration(Fp16)


def warm_up() -> None:
    """Import what every conversion needs."""
    import onnxruntime.transformers.float16  # noqa: F401


def convert(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Convert ``model`` to float16. Raises ActionError where it is not ONNX, or has no operator that ``exclude_ops`` names."""
    import onnx_ir
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    from enginewright.model.onnx_format import canonical_bytes, check_model, read_model

    model = read_model(inputs["model"])
    operators = {node.op_type for node in model.graph.node}
    for name in params["exclude_ops"]:
        if name not in operators:
            raise ActionError(f"exclude_ops: no operator of {inputs['model'].name} has the type {name!r}{did_you_mean(name, operators)}")
    # Inputs and outputs are converted too: as float32, each would cost a cast at run time.
    converted = convert_float_to_float16(model, keep_io_types=False, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *params["exclude_ops"]])
    # It appends the casts around operators that stay in float32 to the end of the graph.
    unsorted = onnx_ir.from_proto(converted)
    unsorted.graph.sort()
    converted = onnx_ir.to_proto(unsorted)
    content = canonical_bytes(converted)
    check_model(converted, "the float16 model")
    outputs["onnx"].write_bytes(content)
