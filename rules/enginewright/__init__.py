"""Enginewright: what a BUILD.py may call.

Everything here is loaded on first use, so that ``import enginewright`` costs nothing and never imports a framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enginewright.daemon.checks import command_check, http_check
    from enginewright.model.shapes import tensor
    from enginewright.model.tolerance import tolerance
    from enginewright.rules.accuracy_test import accuracy_test
    from enginewright.rules.bf16 import bf16
    from enginewright.rules.checkpoint import checkpoint
    from enginewright.rules.debian_base import debian_base
    from enginewright.rules.dockerfile_base import dockerfile_base
    from enginewright.rules.engine import tensorrt_engine
    from enginewright.rules.fp16 import fp16
    from enginewright.rules.image import image
    from enginewright.rules.image_index import image_index
    from enginewright.rules.image_test import image_test
    from enginewright.rules.int8 import int8
    from enginewright.rules.latency_test import latency_test
    from enginewright.rules.layer import files_layer
    from enginewright.rules.model_bundle import model_bundle
    from enginewright.rules.model_image import model_image
    from enginewright.rules.model_repository import model_repository
    from enginewright.rules.oci_base import oci_base
    from enginewright.rules.onnx import onnx_model
    from enginewright.rules.onnx_file import onnx_file
    from enginewright.rules.provenance import provenance
    from enginewright.rules.python_action import python_action
    from enginewright.rules.python_layer import python_layer
    from enginewright.rules.sbom import sbom
    from enginewright.rules.scan import scan
    from enginewright.rules.sign import sign
    from enginewright.workspace.glob import glob

_HOMES = {
    "accuracy_test": "rules.accuracy_test",
    "bf16": "rules.bf16",
    "checkpoint": "rules.checkpoint",
    "command_check": "daemon.checks",
    "debian_base": "rules.debian_base",
    "dockerfile_base": "rules.dockerfile_base",
    "files_layer": "rules.layer",
    "fp16": "rules.fp16",
    "glob": "workspace.glob",
    "http_check": "daemon.checks",
    "image": "rules.image",
    "image_index": "rules.image_index",
    "image_test": "rules.image_test",
    "int8": "rules.int8",
    "latency_test": "rules.latency_test",
    "model_bundle": "rules.model_bundle",
    "model_image": "rules.model_image",
    "model_repository": "rules.model_repository",
    "oci_base": "rules.oci_base",
    "onnx_file": "rules.onnx_file",
    "onnx_model": "rules.onnx",
    "provenance": "rules.provenance",
    "python_action": "rules.python_action",
    "python_layer": "rules.python_layer",
    "sbom": "rules.sbom",
    "scan": "rules.scan",
    "sign": "rules.sign",
    "tensor": "model.shapes",
    "tensorrt_engine": "rules.engine",
    "tolerance": "model.tolerance",
}

__all__ = [
    "accuracy_test",
    "bf16",
    "checkpoint",
    "command_check",
    "debian_base",
    "dockerfile_base",
    "files_layer",
    "fp16",
    "glob",
    "http_check",
    "image",
    "image_index",
    "image_test",
    "int8",
    "latency_test",
    "model_bundle",
    "model_image",
    "model_repository",
    "oci_base",
    "onnx_file",
    "onnx_model",
    "provenance",
    "python_action",
    "python_layer",
    "sbom",
    "scan",
    "sign",
    "tensor",
    "tensorrt_engine",
    "tolerance",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"enginewright.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'enginewright' has no attribute {name!r}")
