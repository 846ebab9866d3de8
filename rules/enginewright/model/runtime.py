"""Running an ONNX model on samples, with ONNX Runtime on one processor: what the file says, operator by operator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from enginewright.errors import ActionError
from enginewright.model.samples import Sample

_TYPES = {"tensor(float16)": np.float16, "tensor(double)": np.float64}


def outputs_of(model: bytes | Path, samples: Sequence[Sample], what: str) -> Iterator[Sample]:
    """The outputs of a model, by name, for each sample; floats as float32. ``model`` is a file, or what is in one.

    No optimisation is applied: ONNX Runtime's own ones change what a quantised float16 graph computes, and none of them is in
    TensorRT. One thread, so that sums come out the same on every machine of a kind.
    Raises ActionError, beginning with ``what``, where ONNX Runtime cannot load or run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        types = {value.name: _TYPES.get(value.type) for value in session.get_inputs()}
        names = [value.name for value in session.get_outputs()]
    except Exception as error:  # it raises a class of its own for each status, and RuntimeError
        raise ActionError(f"{what} cannot be loaded by ONNX Runtime: {_first_line(error)}") from None
    for number, sample in enumerate(samples):
        if sorted(types) != sorted(sample):
            raise ActionError(f"{what} takes {', '.join(sorted(types))}; the samples have {', '.join(sorted(sample))}")
        try:
            found = session.run(names, {name: array.astype(types[name] or array.dtype) for name, array in sample.items()})
        except Exception as error:
            raise ActionError(
                f"{what} cannot be run by ONNX Runtime on sample {number} ({_shapes(sample)}): {_first_line(error)}"
            ) from None
        yield {name: np.asarray(array, np.float32 if array.dtype.kind == "f" else None) for name, array in zip(names, found)}


def _shapes(sample: Sample) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in sample.items())


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
