"""Enginewright: what a BUILD.py may call.

Everything here is loaded on first use, so that ``import enginewright`` costs nothing and never imports a framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enginewright.model.shapes import tensor
    from enginewright.rules.accuracy_test import accuracy_test
    from enginewright.rules.checkpoint import checkpoint
    from enginewright.rules.engine import tensorrt_engine
    from enginewright.rules.image import image
    from enginewright.rules.latency_test import latency_test
    from enginewright.rules.layer import files_layer
    from enginewright.rules.model_image import model_image
    from enginewright.rules.onnx import onnx_model
    from enginewright.rules.precision import fp16
    from enginewright.rules.python_action import python_action

_HOMES = {
    "accuracy_test": "rules.accuracy_test",
    "checkpoint": "rules.checkpoint",
    "files_layer": "rules.layer",
    "fp16": "rules.precision",
    "image": "rules.image",
    "latency_test": "rules.latency_test",
    "model_image": "rules.model_image",
    "onnx_model": "rules.onnx",
    "python_action": "rules.python_action",
    "tensor": "model.shapes",
    "tensorrt_engine": "rules.engine",
}

__all__ = [
    "accuracy_test", "checkpoint", "files_layer", "fp16", "image", "latency_test", "model_image", "onnx_model", "python_action", "tensor",
    "tensorrt_engine",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"enginewright.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'enginewright' has no attribute {name!r}")
