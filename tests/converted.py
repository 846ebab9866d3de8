"""Small ONNX models with a reference, for the tests of the rules that convert models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.parser import parse_model

from enginewright.model.reference import Reference, write_reference
from enginewright.model.runtime import outputs_of

SAMPLES = [{"x": np.random.default_rng(i).standard_normal((n, 4), np.float32)} for i, n in enumerate((1, 3))]


def model(body: str, opset: int = 20, **weights: NDArray[Any]) -> onnx.ModelProto:
    """A model with input x (batch, 4) and output y (batch, 2), both float32."""
    parsed = parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> net (float[batch, 4] x) => (float[batch, 2] y) {{ {body} }}')
    parsed.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return parsed


class Conversion:
    """A rule's run function, in a folder with ``net.onnx`` and a reference of the outputs it has in float32."""

    def __init__(self, convert: Callable[..., None], folder: Path) -> None:
        self.convert = convert
        self.folder = folder

    def run(
        self,
        given: onnx.ModelProto,
        cosine: float = 0.99,
        inputs: Mapping[str, Path] | None = None,
        reference: list[Mapping[str, NDArray[Any]]] | None = None,
        **params: Any,
    ) -> onnx.ModelProto:
        """Convert a model, and return the result; `report` is that of its gate."""
        files = {name: self.folder / name for name in ("net.onnx", "reference.npz", "out.onnx", "out.json")}
        for name in ("out.onnx", "out.json"):
            files[name].unlink(missing_ok=True)
        files["net.onnx"].write_bytes(given.SerializeToString())
        expected = reference or list(outputs_of(files["net.onnx"], SAMPLES, "net.onnx"))
        write_reference(files["reference.npz"], Reference("the float32 model", SAMPLES, expected))
        gate = {"tolerance": {"max_abs": None, "max_rel": None, "cosine": cosine}, "metric": None, "floor": None}
        self.convert(
            {"model": files["net.onnx"], "reference": files["reference.npz"], **(inputs or {})},
            {"onnx": files["out.onnx"], "parity": files["out.json"]},
            {"exclude_ops": [], "gate": gate, **params},
        )
        return onnx.load(files["out.onnx"])

    @property
    def report(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads((self.folder / "out.json").read_text())
        return found
