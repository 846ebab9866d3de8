"""What is asked of a network before TensorRT 10, on one that stands in for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from enginewright.tensorrt.build import _hold_to_float32

TRT = SimpleNamespace(float32="float32", float16="float16", LayerType=SimpleNamespace(CONSTANT="constant", SHAPE="shape"))


class Layer:
    def __init__(self, name: str, kind: str, *dtypes: str) -> None:
        self.name = name
        self.type = kind
        self.num_outputs = len(dtypes)
        self.precision = ""
        self.types: dict[int, str] = {}
        self._dtypes = dtypes

    def get_output(self, number: int) -> Any:
        return SimpleNamespace(dtype=self._dtypes[number])

    def set_output_type(self, number: int, dtype: str) -> None:
        self.types[number] = dtype


def test_layers_of_the_nodes_compute_in_float32_and_no_others() -> None:
    norm, topk, other, constant = (
        Layer("norm", "scale", "float16"),
        Layer("topk", "topk", "float16", "int32"),
        Layer("relu", "activation", "float16"),
        Layer("norm", "constant", "float16"),
    )
    layers = [norm, topk, other, constant]
    _hold_to_float32(TRT, SimpleNamespace(num_layers=4, get_layer=layers.__getitem__), ["norm", "topk"])
    assert [layer.precision for layer in layers] == ["float32", "float32", "", ""]
    assert [layer.types for layer in layers] == [{0: "float32"}, {0: "float32"}, {}, {}]
