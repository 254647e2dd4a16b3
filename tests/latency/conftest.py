"""Networks that nobody should meet, and one that anybody may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from whc.latency import reference

Bad = Callable[[str], Path]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return reference.write(tmp_path / "good.onnx")


@pytest.fixture
def bad(tmp_path: Path) -> Bad:
    """Writes the network of a name."""

    def write(name: str) -> Path:
        path = tmp_path / f"{name}.onnx"
        if name == "text":
            path.write_text("no network")
        elif name != "missing":
            onnx.save(NETWORKS[name](), path)
        return path

    return write


def endless() -> onnx.ModelProto:
    """A loop of 2**62 turns."""
    x_in, x_out = images("x_in"), images("x_out")
    condition = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "go_on")]
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    nodes = [helper.make_node("Sin", ["x_in"], ["x_out"]), helper.make_node("Identity", ["go"], ["go_on"])]
    body = helper.make_graph(nodes, "body", [turn, condition[0], x_in], [condition[1], x_out])
    turns = helper.make_tensor("turns", TensorProto.INT64, [], [1 << 62])
    return model([helper.make_node("Loop", ["turns", "", "images"], ["output"], body=body)], [turns])


def hungry() -> onnx.ModelProto:
    """Wants four terabytes as soon as it runs."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [1 << 40])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["images", "zero"], ["output"]),
    ]
    return model(nodes, [shape])


def growing() -> onnx.ModelProto:
    """A loop that doubles what it holds, without end."""
    x_in, x_out = images("x_in", ["n"]), images("x_out", ["m"])
    condition = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "go_on")]
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    nodes = [
        helper.make_node("Concat", ["x_in", "x_in"], ["x_out"], axis=0),
        helper.make_node("Identity", ["go"], ["go_on"]),
    ]
    body = helper.make_graph(nodes, "body", [turn, condition[0], x_in], [condition[1], x_out])
    constants = [
        helper.make_tensor("turns", TensorProto.INT64, [], [1 << 62]),
        helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
    ]
    nodes = [
        helper.make_node("Reshape", ["images", "flat"], ["few"]),
        helper.make_node("Loop", ["turns", "", "few"], ["many"], body=body),
        helper.make_node("ReduceSum", ["many"], ["output"]),
    ]
    return model(nodes, constants, output=[1])


def huge_input() -> onnx.ModelProto:
    return relu([1, 3, 60_000, 30_000])


def empty_input() -> onnx.ModelProto:
    return relu([1, 3, 0, 4])


def unknown() -> onnx.ModelProto:
    return model([helper.make_node("Juggle", ["images"], ["output"], domain="circus")], [])


def two_inputs() -> onnx.ModelProto:
    return model([helper.make_node("Add", ["images", "more"], ["output"])], [], inputs=[images(), images("more")])


def open_height() -> onnx.ModelProto:
    return relu([1, 3, "height", 4])


def relu(shape: list[int | str]) -> onnx.ModelProto:
    return model([helper.make_node("Relu", ["images"], ["output"])], [], [images(shape=shape)], shape)


def images(name: str = "images", shape: list[int | str] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape or [1, 4])


def model(
    nodes: list[NodeProto],
    constants: list[TensorProto],
    inputs: list[onnx.ValueInfoProto] | None = None,
    output: list[int | str] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "bad", inputs or [images()], [images("output", output)], constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("circus", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


NETWORKS = {
    "endless": endless,
    "hungry": hungry,
    "growing": growing,
    "huge_input": huge_input,
    "empty_input": empty_input,
    "unknown": unknown,
    "two_inputs": two_inputs,
    "open_height": open_height,
}
