from __future__ import annotations

import subprocess
import sys

import pytest

import enginewright


def test_what_a_build_file_may_call_is_loaded_without_any_framework() -> None:
    program = (
        "import sys, enginewright\n"
        "assert all(callable(getattr(enginewright, name)) for name in enginewright.__all__)\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'torch', 'numpy', 'onnx', 'onnxruntime', 'tensorrt', 'tensorrt_rtx'})"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert loaded.split() == []


def test_anything_else_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'enginewright' has no attribute 'fp61'"):
        _ = enginewright.fp61
