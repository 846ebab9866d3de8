"""Weights in 8 bits, written so that older parsers can read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def with_float_weights(model: onnx.ModelProto) -> bool:
    """Make each int8 weight that is dequantised a float32 one that is quantised to the same int8 values first, in place.

    TensorRT before version 10 has no constants in int8: it quantises the weights itself, between a QuantizeLinear and a
    DequantizeLinear that follow each other. Returns whether there was any such weight.
    """
    import numpy as np
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    weights = {each.name: each for each in graph.initializer if each.data_type == onnx.TensorProto.INT8}
    scales = {each.name: each for each in graph.initializer}
    made: dict[str, onnx.NodeProto] = {}
    nodes = []
    for node in graph.node:
        name = node.input[0] if node.op_type == "DequantizeLinear" else ""
        if name in weights:
            if name not in made:
                axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
                weight, scale = numpy_helper.to_array(weights[name]), numpy_helper.to_array(scales[node.input[1]])
                if scale.ndim:
                    scale = scale.reshape([-1 if i == axis % weight.ndim else 1 for i in range(weight.ndim)])
                values = weight.astype(np.float32) * scale.astype(np.float32)
                weights[name].CopyFrom(numpy_helper.from_array(values, name))
                made[name] = onnx.helper.make_node("QuantizeLinear", [name, *node.input[1:]], [f"{name}/int8"], f"{name}/quantise")
                made[name].attribute.extend(node.attribute)
                nodes.append(made[name])
            node.input[0] = f"{name}/int8"
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return bool(made)
