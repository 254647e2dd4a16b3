"""A fixed network that is timed in every round: the ratio to it compares across sessions, milliseconds do not."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT_SHAPE = (1, 3, 32, 32)
FILE_NAME = "reference.onnx"
# A graph of one tensor, input and output, without operators, as LiteRT's own schema module writes it.
_EMPTY_LITERT = (
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAAcAAAAjAAAAAMAAAABAAAACAAAAAQABAAEAAAAAQAAABAAAAAMABQAEAAM"
    "AAgABAAMAAAAEAAAABAAAAAUAAAAGAAAAAAAAAABAAAAAAAAAAEAAAAAAAAAAQAAABAAAAAMAAwACAAAAAAABAAMAAAACAAAABAA"
    "AAAGAAAAaW1hZ2VzAAACAAAAAQAAAAgAAAAAAAAA"
)


def write(path: Path) -> Path:
    """Write the reference network: four depthwise-separable blocks of width 32 for 32x32 pixels, a medium size for whc.

    Built from a fixed seed without torch, so that every device times the same file.
    """
    rng = np.random.default_rng(0)
    weights: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def conv(source: str, shape: tuple[int, int, int, int], stride: int = 1, groups: int = 1) -> str:
        name = f"conv{len(nodes)}"
        values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"{name}.weight"))
        weights.append(numpy_helper.from_array(np.zeros(shape[0], np.float32), f"{name}.bias"))
        pad, side = shape[2] // 2, shape[2]
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        settings = {"kernel_shape": [side, side], "pads": [pad] * 4, "strides": [stride] * 2, "group": groups}
        nodes.append(helper.make_node("Conv", inputs, [name], **settings))
        nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"]))
        return f"{name}.relu"

    x, width = conv("images", (32, 3, 3, 3), stride=2), 32
    for stride in (1, 1, 2, 1):
        x = conv(x, (width, 1, 3, 3), stride, width)
        x = conv(x, (width * stride, width, 1, 1))
        width *= stride
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["output"]))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, INPUT_SHAPE)
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, width, 1, 1])
    graph = helper.make_graph(nodes, "reference", [images], [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def write_empty(path: Path) -> Path:
    """Write a network that gives its input back, of the kind that the suffix says; its time is that of a call alone."""
    if path.suffix == ".tflite":
        path.write_bytes(b64decode(_EMPTY_LITERT))
        return path
    images, output = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 8)) for name in ("images", "output"))
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["output"])], "empty", [images], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path
