"""Triton's schema of model configurations, out of `tritonclient`: the package itself imports gRPC, and the schema does not need it."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path
from typing import Any

_path = Path(str(metadata.distribution("tritonclient").locate_file("tritonclient/grpc/model_config_pb2.py")))
_spec = importlib.util.spec_from_file_location("model_config_pb2", _path)
assert _spec and _spec.loader
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

ModelConfig: Any = _module.ModelConfig
