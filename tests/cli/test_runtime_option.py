"""`--runtime` of the commands that run a model."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from whc import plugins
from whc.records import ModelMetadata

Command = Callable[..., Any]
LABELS = ["dark", "bright"]


@pytest.fixture
def model(home: Path, make_metadata: Callable[..., ModelMetadata]) -> str:
    """model.onnx, which gives the mean of a picture, and pictures/ to run it on."""
    described = make_metadata(labels=LABELS, height=8, width=8)
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["images", "axes"], ["prob_bright"], keepdims=0)],
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("prob_bright", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])],
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(whole, described.to_properties())
    onnx.save(whole, home / "model.onnx")
    (home / "pictures").mkdir()
    for shade in (0, 100, 200):
        cv2.imwrite(str(home / "pictures" / f"{shade:03d}.png"), np.full((20, 20, 3), shade, np.uint8))
    return "model.onnx"


def run(whc_command: Command, name: str, model: str, *more: object) -> Any:
    return whc_command(name, "--model", model, "--source", "pictures", *more)


def test_openvino_gives_the_same_table(home: Path, model: str, whc_command: Command) -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    tables = []
    for runtime in ("onnxruntime_cpu", "openvino"):
        ended = run(whc_command, "predict", model, "--out", "x.csv", "--runtime", runtime, "--threads", 2, "--json")
        assert (ended.code, ended.err, json.loads(ended.out)["rows"]) == (0, "", 3)
        with (home / "x.csv").open(encoding="utf-8", newline="") as file:
            tables.append([(row["path"], row["label"], float(row["prob_bright"])) for row in csv.DictReader(file)])
    for ours, theirs in zip(*tables, strict=True):
        assert ours[:2] == theirs[:2]
        assert ours[2] == pytest.approx(theirs[2], abs=1e-5)


def test_the_demo_takes_it_too(model: str, whc_command: Command) -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    ended = run(whc_command, "demo", model, "--headless", "--runtime", "openvino", "--json")
    assert (ended.code, ended.err, json.loads(ended.out)["decisions"]) == (0, "", 3)


@pytest.mark.parametrize(("command", "more"), [("demo", ["--headless"]), ("predict", ["--out", "x.csv"])])
def test_wrong_and_missing_ones(model: str, whc_command: Command, command: str, more: list[str]) -> None:
    ended = run(whc_command, command, model, "--runtime", "onnxruntime_gpu", *more)
    said = "error: runtime: must be one of litert, onnxruntime_cpu, onnxruntime_cuda, "
    assert (ended.code, ended.out, ended.err[: len(said)]) == (2, "", said)
    assert ended.err.count("\n") == 1


def test_missing_one_with_threads(model: str, whc_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    ended = run(whc_command, "demo", model, "--headless", "--runtime", "tensorrt", "--threads", 2)
    said = "error: runtime tensorrt: must be installed, got no module 'tensorrt'; install whc[tensorrt]\n"
    assert (ended.code, ended.out, ended.err) == (2, "", said)


def test_a_checkpoint_has_no_choice(model: str, whc_command: Command) -> None:
    ended = run(whc_command, "predict", "model.pt", "--out", "x.csv", "--runtime", "openvino")
    said = "--runtime: needs an exported file, as PyTorch runs model.pt, got 'openvino'; export it first"
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


@pytest.mark.parametrize("command", ["demo", "predict"])
def test_help_names_them_all(whc_command: Command, command: str) -> None:
    out = "".join(whc_command(command, "--help").out.split())
    assert f"--runtime[{'|'.join(plugins.names('runtimes'))}]" in out
