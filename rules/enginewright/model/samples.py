"""The inputs that a model is tried on: declared ones, or drawn by a seeded generator.

A sample is a dict with an array for each input of the model. Floating-point inputs of any precision are held as float32, so that
one sample serves a model in all its precisions; integers and bools are held as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from enginewright.errors import ActionError
from enginewright.model.user_code import explain, load_function, shown

if TYPE_CHECKING:
    import onnx

Sample = Mapping[str, NDArray[Any]]

FLOATS = ("bfloat16", "float16", "float32")


class InputSpec(NamedTuple):
    """An input of a model: ``shape`` holds sizes, and names of dynamic dimensions."""

    name: str
    dtype: str
    shape: Sequence[int | str]


def input_specs(model: onnx.ModelProto) -> list[InputSpec]:
    """What a model takes: names, element types by NumPy's names, and shapes, with a name for each dynamic dimension.

    Raises ActionError for an input that has no numbers.
    """
    import onnx

    weights = {weight.name for weight in model.graph.initializer}  # which IR versions before 4 list as inputs, too
    found = []
    for value in model.graph.input:
        if value.name not in weights:
            tensor = value.type.tensor_type
            if tensor.elem_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):  # UNDEFINED also where it is no tensor
                raise ActionError(f"the input {value.name} of the model is no tensor of numbers or truth values")
            shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim]
            found.append(InputSpec(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape))
    return found


def drawn(specs: Sequence[InputSpec], dims: Mapping[str, Sequence[int]]) -> list[Sample]:
    """The same samples each time: one with every dynamic dimension at its smallest size, one with each at its most usual.

    Floats are standard normal, integers 0 or 1, bools True. ``dims`` has (min, opt, max) for every dynamic dimension.
    """
    sizes = [{name: ranges[which] for name, ranges in dims.items()} for which in (0, 1)]
    return [
        {
            spec.name: _draw(spec.dtype, [dim if isinstance(dim, int) else each[dim] for dim in spec.shape], seed=(number, position))
            for position, spec in enumerate(specs)
        }
        for number, each in enumerate(sizes[: 2 if sizes[0] != sizes[1] else 1])
    ]


def _draw(dtype: str, shape: Sequence[int], seed: tuple[int, int]) -> NDArray[Any]:
    generator = np.random.default_rng(seed)
    if dtype == "bool":
        return np.ones(shape, np.bool_)
    if dtype not in FLOATS:
        return generator.integers(0, 2, size=shape).astype(dtype)
    return _held(generator.standard_normal(shape, dtype=np.float32), dtype)


def declared(files: Sequence[Path], function: tuple[Path, str] | None, specs: Sequence[InputSpec]) -> Iterator[Sample]:
    """Samples from where a BUILD.py says.

    With files and a function, the function is called with the path of each file and returns a sample; with a function alone,
    what it yields are samples; a file alone is a .npz with an array for each input, or, for a model of one input, a .npy. The
    first axis of these arrays counts samples. A sample of a model with one input may be a bare array, and an array that lacks
    just its first axis, the batch, is a batch of one. Raises ActionError for anything else, and where there is no sample.
    """
    number = 0
    for number, (where, sample) in enumerate(_each(files, function, specs), start=1):  # noqa: B007
        yield _fit(sample, specs, where)
    if number == 0:
        raise ActionError(f"{shown(function[0] if function else files[0])} gives no samples: it must give at least one")


def _each(files: Sequence[Path], function: tuple[Path, str] | None, specs: Sequence[InputSpec]) -> Iterator[tuple[str, Any]]:
    if function is None:
        arrays = _read(files[0], specs)
        counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            raise ActionError(f"{files[0].name}: the first axis counts samples, and its sizes differ: {counts}")
        for i in range(next(iter(counts.values()))):
            yield f"{files[0].name}, sample {i}", {name: array[i] for name, array in arrays.items()}
        return
    source, name = function
    call = load_function(source, name)
    try:
        if files:
            for file in files:
                yield f"{name}({file.name})", call(file)
        else:
            for i, sample in enumerate(call()):
                yield f"{name}(), sample {i}", sample
    except ActionError:
        raise
    except Exception as error:
        raise ActionError(explain(error, source, f"{name}() failed")) from error


def _read(file: Path, specs: Sequence[InputSpec]) -> Mapping[str, NDArray[Any]]:
    try:
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            content = {spec.name: content for spec in specs[:1]}
        arrays = dict(content)
    except (ValueError, OSError, EOFError) as error:
        raise ActionError(f"{file.name} is not an array file: expected .npz or .npy, without Python objects ({error})") from None
    if sorted(arrays) != sorted(spec.name for spec in specs):
        names = ", ".join(spec.name for spec in specs)
        raise ActionError(f"{file.name}: expected an array for each of the inputs {names}; found {', '.join(sorted(arrays)) or 'none'}")
    return arrays


def _fit(sample: Any, specs: Sequence[InputSpec], where: str) -> Sample:
    """A sample with its arrays as the inputs' types have it. Raises ActionError, with what is at ``where``."""
    if len(specs) == 1 and not isinstance(sample, Mapping):
        sample = {specs[0].name: sample}
    names = [spec.name for spec in specs]
    if not isinstance(sample, Mapping) or sorted(sample) != sorted(names):
        found = ", ".join(map(str, sample)) if isinstance(sample, Mapping) else f"a {type(sample).__name__}"
        raise ActionError(f"{where}: expected an array for each of the inputs {', '.join(names)}; found {found}")
    return {spec.name: _fit_one(np.asarray(sample[spec.name]), spec, where) for spec in specs}


def _fit_one(array: NDArray[Any], spec: InputSpec, where: str) -> NDArray[Any]:
    if array.ndim == len(spec.shape) - 1:
        array = array[None]
    fits = array.ndim == len(spec.shape) and all(isinstance(dim, str) or dim == size for dim, size in zip(spec.shape, array.shape))
    if not fits:
        raise ActionError(f"{where}: {spec.name} has the shape {list(array.shape)}: expected {list(spec.shape)}")
    if array.dtype.kind not in ("fiub" if spec.dtype in FLOATS else "iub"):
        raise ActionError(f"{where}: {spec.name} holds {array.dtype}: expected {spec.dtype}")
    return _held(array, spec.dtype)


def _held(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """An array as samples hold it, with no more precision than its type has."""
    if dtype == "bfloat16":
        import ml_dtypes

        array = array.astype(ml_dtypes.bfloat16)
    else:
        array = array.astype(dtype)
    return np.ascontiguousarray(array.astype(np.float32) if dtype in FLOATS else array)
