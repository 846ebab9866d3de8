"""What an ONNX model is: its inputs and outputs, the element types in it, its operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear"})
_WITHOUT_ARITHMETIC = _QUANTISED | {"Cast", "CastLike", "Constant"}


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    """The dimensions of an input or output: sizes, and names of dynamic ones (``?`` where ONNX has none)."""
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim]


def tensors(model: onnx.ModelProto) -> list[dict[str, Any]]:
    """The inputs and outputs, in order: name, mode (input or output), dtype, shape."""
    return [
        {"name": value.name, "mode": mode, "dtype": dtype_name(value.type.tensor_type.elem_type), "shape": shape_of(value)}
        for mode, values in (("input", model.graph.input), ("output", model.graph.output))
        for value in values
    ]


def dtype_name(elem_type: int) -> str:
    """The name of an ONNX element type, as ``float16``."""
    from onnx.helper import tensor_dtype_to_np_dtype

    return tensor_dtype_to_np_dtype(elem_type).name


def weight_bytes(model: onnx.ModelProto) -> dict[str, int]:
    """The bytes of weights of each element type, by the weights' shapes: they may lie in another file."""
    from onnx.helper import tensor_dtype_to_np_dtype

    sizes: Counter[str] = Counter()
    for weight in model.graph.initializer:
        dtype = tensor_dtype_to_np_dtype(weight.data_type)
        sizes[dtype.name] += _elements(weight) * dtype.itemsize
    return dict(sizes)


def precision(model: onnx.ModelProto) -> str:
    """``int8`` of a model that quantises; else the element type that holds most of the weights' bytes, and without weights that of
    the first output."""
    if any(node.op_type in _QUANTISED for node in model.graph.node):
        return "int8"
    sizes = weight_bytes(model)
    return max(sizes, key=lambda dtype: (sizes[dtype], dtype)) if sizes else tensors(model)[-len(model.graph.output)]["dtype"]


def element_types(model: onnx.ModelProto) -> tuple[str, ...]:
    """The element types of inputs, outputs, weights and casts, sorted; ``int8`` also when the model quantises."""
    import onnx

    found = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    found |= {weight.data_type for weight in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in _QUANTISED:
            found.add(onnx.TensorProto.INT8)
        found |= {attribute.i for attribute in node.attribute if node.op_type == "Cast" and attribute.name == "to"}
    return tuple(sorted(map(dtype_name, found)))


def float32_nodes(model: onnx.ModelProto) -> list[str]:
    """The names of the nodes that compute in float32."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.graph.value_info, *inferred.graph.output)}
    return [
        node.name
        for node in model.graph.node
        if node.name and node.op_type not in _WITHOUT_ARITHMETIC and any(types.get(each) == onnx.TensorProto.FLOAT for each in node.output)
    ]


def describe(model: onnx.ModelProto) -> dict[str, Any]:
    """What there is to know of a model, as plain values. ``parameters`` counts the elements of its weights."""
    sizes = weight_bytes(model)
    return {
        "opset": {each.domain or "ai.onnx": each.version for each in model.opset_import},
        "io": tensors(model),
        "precision": precision(model),
        "operators": dict(sorted(Counter(node.op_type for node in _nodes(model.graph)).items())),
        "parameters": sum(map(_elements, model.graph.initializer)),
        "weight_bytes": dict(sorted(sizes.items())),
    }


def _elements(weight: onnx.TensorProto) -> int:
    count = 1
    for size in weight.dims:
        count *= size
    return count


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those in the branches of others too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _nodes(inner)
