"""What an exported ONNX file says of itself, and what happens when a step fails."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxsim
import pytest
import torch

from whc.config import Settings, validate
from whc.errors import UsageError
from whc.export import onnx as exporter
from whc.models.assemble import ModelConfig, build
from whc.plugins import Choice, ChoiceOf
from whc.records import ModelMetadata
from whc.runtimes import onnxruntime_cpu
from whc.tasks import classification

CONFIG = ModelConfig.model_validate({"width": 4, "depth": 1, "image_size": "16x12"})
METADATA = ModelMetadata(
    task="classification",
    labels=["neutral", "lächelnd"],
    positive="lächelnd",
    layout="still",
    frames=1,
    frame_rate=None,
    height=16,
    width=12,
    resize="stretch",
    interpolation="area",
    threshold=0.4,
    study="wave",
    trial="t1",
    data_fingerprint="0123",
    code_version="test",
)


class Job(Settings):
    export: Annotated[Choice, ChoiceOf("export")]


def export(path: Path, config: exporter.Config | None = None) -> torch.nn.Module:
    torch.manual_seed(0)
    network = build(CONFIG, 1).eval()
    exporter.export(network, path, METADATA, CONFIG.input_shape, config or exporter.Config())
    return network


def test_metadata_and_nothing_of_the_machine_that_exported(tmp_path: Path) -> None:
    export(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    properties = {item.key: item.value for item in model.metadata_props}
    assert properties == METADATA.to_properties()
    assert ModelMetadata.from_properties(properties, "model.onnx") == METADATA
    assert not model.doc_string
    assert not model.graph.doc_string
    for item in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        assert not item.doc_string
        assert not item.metadata_props
    assert not model.functions
    assert model.opset_import[0].version == 18


def test_weights_lie_inside_the_file(tmp_path: Path) -> None:
    export(tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("error", [RuntimeError("cannot infer"), ValueError("odd graph")])
def test_a_graph_that_cannot_be_simplified_is_kept_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(model: onnx.ModelProto) -> None:
        raise error

    monkeypatch.setattr(onnxsim, "simplify", fail)
    path = tmp_path / "model.onnx"
    with caplog.at_level(logging.WARNING, "whc"):
        network = export(path)
    assert f"{path}: onnxsim could not simplify the graph ({error}); the plain graph is kept" in caplog.text
    session = onnxruntime_cpu.load(path, onnxruntime_cpu.Config())
    assert session.metadata() == METADATA
    images = torch.rand(3, *CONFIG.input_shape)
    with torch.inference_mode():
        expected = classification.probabilities(network(images)).numpy()
    np.testing.assert_allclose(session.run(images.numpy()), expected, atol=1e-5)
    for text in (b"site-packages", b"/whc/", str(tmp_path).encode()):
        assert text not in path.read_bytes()


def test_a_failed_export_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: onnx.ModelProto) -> None:
        raise onnx.checker.ValidationError("broken")

    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")
    monkeypatch.setattr(onnx.checker, "check_model", fail)
    with pytest.raises(onnx.checker.ValidationError):
        export(path)
    assert path.read_bytes() == b"older"


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export(tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("opset", [11, 17, 24, "new"])
def test_opsets_that_are_refused_name_their_key(opset: object) -> None:
    with pytest.raises(UsageError, match=r"^f\.yaml: export\.onnx\.opset: must be .*, got .*; change the value$"):
        validate(Job, {"export": {"onnx": {"opset": opset}}}, "f.yaml")
