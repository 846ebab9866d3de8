"""bf16(): a model in bfloat16, ONNX to ONNX: the range of float32, with 8 bits of precision."""

from __future__ import annotations

import tempfile
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

_TOLERANCE = Tolerance(cosine=0.99)
_METHOD = "ONNX Runtime on one thread, without optimisations; each operator in float32, its bfloat16 inputs and outputs rounded"
_ADVICE = (
    'bfloat16 keeps 8 bits of a number: keep the operators that need more in float32, as exclude_ops=["LayerNormalization"]; use fp16() '
    "where values stay below 65504; or declare what is acceptable, as tolerance=tolerance(cosine=0.98)."
)


@dataclass(frozen=True, kw_only=True)
class Bf16(Conversion):
    """``model`` with its float32 weights, inputs, outputs and inner tensors in bfloat16, and its parity with the reference.

    Operators that ``exclude_ops`` names, by type or by name, stay in float32, between casts, as do those for which ONNX has no
    bfloat16. ONNX Runtime has few bfloat16 operators on CPUs, so the gate has each compute in float32, on inputs and with
    outputs rounded to bfloat16, as tensor cores do; the report says so. GPUs before sm_80 have no bfloat16.
    """

    kind: ClassVar[str] = "bf16"

    tolerance: Tolerance = _TOLERANCE

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="Bf16",
            run="enginewright.rules.bf16:convert",
            inputs=self.conversion_inputs(context),
            outputs=self.conversion_outputs(context),
            params={"exclude_ops": tuple(sorted(self.exclude_ops)), "gate": self.gate_params()},
            packages=(*_PACKAGES, *self.packages),
            warm_up=WarmUp("enginewright.rules.bf16:warm_up", _PACKAGES),
        )


bf16 = declaration(Bf16)


def warm_up() -> None:
    """Import what every conversion needs."""
    import onnxruntime  # noqa: F401

    from enginewright.model.bfloat16 import to_bfloat16  # noqa: F401
    from enginewright.model.gate import prove  # noqa: F401
    from enginewright.model.onnx_format import read_model  # noqa: F401


def convert(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Convert ``model`` to bfloat16. Raises ActionError where it is not ONNX, has subgraphs, has no operator that ``exclude_ops``
    names, or where the result is not within tolerance of the reference."""
    import onnx_ir

    from enginewright.model.bfloat16 import emulated, to_bfloat16
    from enginewright.model.external_data import read_typed, write
    from enginewright.model.gate import prove
    from enginewright.model.onnx_format import canonical_bytes, check_model, read_model
    from enginewright.model.operators import named

    large = "data" in inputs
    model = read_typed(inputs["model"], inputs["data"]) if large else read_model(inputs["model"])
    converted = to_bfloat16(model, named(model, params["exclude_ops"], "exclude_ops", inputs["model"].name))
    content = b""
    if large:
        write(onnx_ir.from_proto(converted), outputs["onnx"], outputs["data"])
    else:
        content = canonical_bytes(converted)
        check_model(converted, "the bfloat16 model")
    if "reference" in inputs:
        with tempfile.TemporaryDirectory() as folder:
            stand_in = Path(folder, "emulated.onnx")
            if large:
                write(onnx_ir.from_proto(emulated(converted)), stand_in, stand_in.with_name("emulated.onnx.data"))
            else:
                stand_in.write_bytes(canonical_bytes(emulated(converted)))
            prove("the bfloat16 model", stand_in, inputs, outputs["parity"], params["gate"], _ADVICE, _METHOD)
    if not large:
        outputs["onnx"].write_bytes(content)
