"""Files and options that ask for more than there is: a line for each, in time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

Run = Callable[..., Any]


@pytest.fixture
def endless(home: Path) -> Path:
    """A network whose loop has 2**62 turns."""
    x_in, x_out, images, output = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x_in", "x_out", "images", "output")
    )
    go, go_on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "go_on"))
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    nodes = [helper.make_node("Sin", ["x_in"], ["x_out"]), helper.make_node("Identity", ["go"], ["go_on"])]
    body = helper.make_graph(nodes, "body", [turn, go, x_in], [go_on, x_out])
    turns = helper.make_tensor("turns", TensorProto.INT64, [], [1 << 62])
    loop = helper.make_node("Loop", ["turns", "", "images"], ["output"], body=body)
    graph = helper.make_graph([loop], "endless", [images], [output], [turns])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), home / "m.onnx")
    return Path("m.onnx")


@pytest.mark.parametrize(
    "command", ["demo --headless --model m.onnx", "predict --model m.onnx --source . --out o.csv", "bench m.onnx"]
)
def test_a_loop_without_end(endless: Path, home: Path, whc_command: Run, command: str) -> None:
    ended = whc_command(*command.split(), "--wait", 1)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "error: m.onnx: must load, and run for a moment, within 1 s, got no answer; "
        "wait longer with --wait SECONDS, or look for an endless loop in it\n"
    )
    assert [file.name for file in home.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("seconds", ["0", "nan", "inf", "1e9"])
def test_how_long_to_wait(endless: Path, whc_command: Run, seconds: str) -> None:
    ended = whc_command("bench", endless, "--wait", seconds)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: Invalid value for '--wait': ")


@pytest.mark.parametrize("option", ["--trials 1" + "0" * 30, "--minutes nan", "--minutes inf"])
def test_a_search_has_an_end(whc_command: Run, option: str) -> None:
    ended = whc_command("search", "--space", "tiny", *option.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: Invalid value for '{option.split(maxsplit=1)[0]}': ")


@pytest.mark.parametrize(
    "command", ["demo --headless --model {}", "predict --source . --out o.csv --model {}", "bench {}"]
)
def test_a_model_of_a_name_that_no_file_can_have(home: Path, whc_command: Run, command: str) -> None:
    ended = whc_command(*command.format("a" * 300 + ".onnx").split())
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"error: {'a' * 300}.onnx: must be an ONNX file, got nothing there; check the path\n"


def test_a_name_that_no_file_can_have(home: Path, whc_command: Run) -> None:
    ended = whc_command("search", "--space", "a" * 300, "--dry-run")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: search_spaces: no such file, got 'aaa")
