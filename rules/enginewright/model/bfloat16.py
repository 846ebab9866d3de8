"""Models in bfloat16: making one of a float32 model, and a stand-in that ONNX Runtime can run on a CPU.

Which operators can compute in bfloat16 is what their schemas say, for each input and output (https://onnx.ai/onnx/operators).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from enginewright.errors import ActionError
from enginewright.model.operators import Operators

if TYPE_CHECKING:
    import onnx

_FLOAT, _BFLOAT16 = 1, 16  # onnx.proto, TensorProto.DataType
_SMALL = 1 << 12


def to_bfloat16(model: onnx.ModelProto, keep: Operators) -> onnx.ModelProto:
    """``model``, which is changed, with its float32 inputs, outputs, weights and inner tensors in bfloat16, rounded to nearest.

    The operators of ``keep``, and inputs and outputs of others that cannot be bfloat16, stay in float32, between casts; so do
    weights that nothing else reads. Raises ActionError for a model with subgraphs.
    """
    model, types = _typed(model)
    graph, narrow, fresh = model.graph, _narrow_test(model, keep), _fresh(types)
    twins = _narrow_weights(graph, narrow, fresh)
    weights = {weight.name for weight in graph.initializer}
    wide: dict[str, str] = {}  # tensors, with the names of their values in float32
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for i, name in enumerate(node.input):
            if types.get(name) != _FLOAT:
                continue
            if narrow(node, "inputs", i):
                node.input[i] = twins.get(name, name)
            elif name not in weights:
                if name not in wide:
                    wide[name] = fresh(f"{name}_float32")
                    nodes.append(_cast(name, wide[name], _FLOAT))
                node.input[i] = wide[name]
        nodes.append(node)
        for i, name in enumerate(node.output):
            if types.get(name) == _FLOAT:
                if narrow(node, "outputs", i):
                    _retype(node, _FLOAT, _BFLOAT16)
                else:
                    wide[name] = node.output[i] = fresh(f"{name}_float32")
                    nodes.append(_cast(wide[name], name, _BFLOAT16))
    read = {name for node in nodes for name in node.input}.union(value.name for value in graph.output)
    # Between two operators that both stay in float32, nobody reads the narrow value.
    _replace(graph, [node for node in nodes if node.op_type != "Cast" or read.intersection(node.output)], _FLOAT, _BFLOAT16)
    return model


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model``, in bfloat16, made a float32 one that computes the same as hardware does that sums in float32, as tensor cores do.

    ONNX Runtime has next to no bfloat16 operators for CPUs. Here each of them computes in float32, on inputs that are bfloat16
    numbers, and what it gives is rounded to bfloat16.
    """
    model, types = _typed(model)
    graph, fresh = model.graph, _fresh(types)
    for weight in graph.initializer:
        if weight.data_type == _BFLOAT16:
            weight.CopyFrom(_retyped(weight, _FLOAT, weight.name))
    nodes: list[onnx.NodeProto] = []
    rounded: dict[str, str] = {}  # inputs, and their names once rounded

    def round_to(exact: str, name: str) -> None:
        between = fresh(f"{name}_bfloat16")
        nodes.extend([_cast(exact, between, _BFLOAT16), _cast(between, name, _FLOAT)])

    for value in graph.input:
        if types[value.name] == _BFLOAT16:
            rounded[value.name] = fresh(f"{value.name}_rounded")
            round_to(value.name, rounded[value.name])
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = rounded.get(name, name)
        _retype(node, _BFLOAT16, _FLOAT)
        nodes.append(node)
        for i, name in enumerate(node.output):
            if types.get(name) == _BFLOAT16:
                node.output[i] = fresh(f"{name}_exact")
                round_to(node.output[i], name)
    _replace(graph, nodes, _BFLOAT16, _FLOAT)
    return model


def _typed(given: onnx.ModelProto) -> tuple[onnx.ModelProto, Mapping[str, int]]:
    """A model, in which functions are inlined, and the element type of each tensor, by name."""
    import onnx
    from onnx.inliner import inline_local_functions

    model = inline_local_functions(given) if given.functions else given
    for node in model.graph.node:
        if any(attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in node.attribute):
            raise ActionError(
                f"operator {node.name or node.op_type} ({node.op_type}) has a subgraph, which bf16() does not convert: use fp16()"
            )
    graph = onnx.shape_inference.infer_shapes(_without_large_weights(model), strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return model, {**types, **{weight.name: weight.data_type for weight in graph.initializer}}


def _without_large_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that has inputs in their place: inference takes no more than 2 GiB, and no values but those of shapes."""
    import onnx

    copy = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = copy.graph
    graph.name = model.graph.name
    for name in ("node", "input", "output"):
        getattr(graph, name).extend(getattr(model.graph, name))
    for weight in model.graph.initializer:
        if weight.ByteSize() <= _SMALL:
            graph.initializer.append(weight)
        elif all(value.name != weight.name for value in model.graph.input):
            graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    return copy


def _narrow_test(model: onnx.ModelProto, keep: Operators) -> Callable[[onnx.NodeProto, str, int], bool]:
    """A test whether the input or output of this number of a node can, and is to be, bfloat16."""
    import onnx

    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))

    def narrow(node: onnx.NodeProto, side: str, number: int) -> bool:
        if keep.hold(node) or node.domain not in ("", "ai.onnx"):
            return False
        schema = onnx.defs.get_schema(node.op_type, opset)
        formal = schema.inputs if side == "inputs" else schema.outputs
        return "tensor(bfloat16)" in formal[min(number, len(formal) - 1)].types  # the last may stand for several

    return narrow


def _narrow_weights(
    graph: onnx.GraphProto, narrow: Callable[[onnx.NodeProto, str, int], bool], fresh: Callable[[str], str]
) -> Mapping[str, str]:
    """Make weights bfloat16, but for those that are read in float32. Returns the names of copies, for those that are read in both."""
    read: dict[bool, set[str]] = {True: set(), False: set()}
    for node in graph.node:
        for i, name in enumerate(node.input):
            read[narrow(node, "inputs", i)].add(name)
    twins = {}
    for weight in [each for each in graph.initializer if each.data_type == _FLOAT]:
        if weight.name not in read[False]:
            weight.CopyFrom(_retyped(weight, _BFLOAT16, weight.name))
        elif weight.name in read[True]:
            twins[weight.name] = fresh(f"{weight.name}_bfloat16")
            graph.initializer.append(_retyped(weight, _BFLOAT16, twins[weight.name]))
    return twins


def _retype(node: onnx.NodeProto, old: int, new: int) -> None:
    """Have an operator that says in its attributes which type it gives say another."""
    import onnx

    if node.op_type == "ConstantOfShape" and not node.attribute and old == _FLOAT:
        node.attribute.append(onnx.helper.make_attribute("value", onnx.helper.make_tensor("", _FLOAT, [1], [0.0])))
    for attribute in node.attribute:
        if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats") and old == _FLOAT:
            values = attribute.floats if attribute.name == "value_floats" else [attribute.f]
            shape = [len(values)] if attribute.name == "value_floats" else []
            attribute.CopyFrom(onnx.helper.make_attribute("value", onnx.helper.make_tensor("", _FLOAT, shape, values)))
        if attribute.name in ("to", "dtype") and attribute.i == old:
            attribute.i = new
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == old:
            attribute.t.CopyFrom(_retyped(attribute.t, new, attribute.t.name))


def _retyped(tensor: onnx.TensorProto, new: int, name: str) -> onnx.TensorProto:
    import onnx

    return onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(onnx.helper.tensor_dtype_to_np_dtype(new)), name)


def _cast(name: str, to: str, dtype: int) -> onnx.NodeProto:
    import onnx

    return onnx.helper.make_node("Cast", [name], [to], to=dtype)


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], old: int, new: int) -> None:
    """Give a graph these nodes, and its inputs and outputs of type ``old`` the type ``new``."""
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]  # those of the graph end with it
    del graph.node[:], graph.value_info[:]
    graph.node.extend(copies)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == old:
            value.type.tensor_type.elem_type = new


def _fresh(taken: Mapping[str, int]) -> Callable[[str], str]:
    """A function that gives the name it is asked for, or one like it that nothing has."""
    used = set(taken)

    def name(wanted: str) -> str:
        found = next(each for each in itertools.chain([wanted], (f"{wanted}_{i}" for i in itertools.count(1))) if each not in used)
        used.add(found)
        return found

    return name
