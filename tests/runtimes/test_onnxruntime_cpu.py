from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from whc.errors import ArtifactError
from whc.records import ModelMetadata
from whc.runtimes import onnxruntime_cpu
from whc.runtimes.onnxruntime_cpu import Config

METADATA = ModelMetadata(
    task="classification",
    labels=["neutral", "lächelnd"],
    positive="lächelnd",
    layout="still",
    frames=1,
    frame_rate=None,
    height=4,
    width=6,
    resize="stretch",
    interpolation="area",
    threshold=0.4,
    data_fingerprint="f00d",
    code_version="test",
)


def build(
    path: Path,
    shape: Sequence[int | str] = ("batch", 3, 4, 6),
    properties: dict[str, str] | None = None,
    extra_input: bool = False,
    operator: str = "ReduceMean",
) -> Path:
    """A model whose output is the mean of each image."""
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, list(shape))]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    graph = helper.make_graph(
        [helper.make_node(operator, ["images", "axes"], ["prob"], keepdims=0)],
        "mean",
        inputs,
        [helper.make_tensor_value_info("prob", TensorProto.FLOAT, [shape[0]])],
        [helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, METADATA.to_properties() if properties is None else properties)
    onnx.save(model, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        onnxruntime_cpu.load(path, Config())
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("threads", [1, 2])
def test_runs_batches(tmp_path: Path, threads: int) -> None:
    session = onnxruntime_cpu.load(build(tmp_path / "m.onnx"), Config(threads=threads))
    images = np.random.default_rng(0).random((5, 3, 4, 6), np.float32)
    probabilities = session.run(images)
    assert probabilities.dtype == np.float32
    assert probabilities == pytest.approx(images.mean(axis=(1, 2, 3)), abs=1e-6)
    assert session.path == tmp_path / "m.onnx"


@pytest.mark.parametrize(("batch", "expected"), [("batch", 1), (1, 1), (8, 8)])
def test_input_shape(tmp_path: Path, batch: int | str, expected: int) -> None:
    session = onnxruntime_cpu.load(build(tmp_path / "m.onnx", (batch, 3, 4, 6)), Config())
    assert session.input_shape == (expected, 3, 4, 6)


def test_input_of_unknown_size(tmp_path: Path) -> None:
    session = onnxruntime_cpu.load(build(tmp_path / "m.onnx", ("batch", 3, "height", 6)), Config())
    with pytest.raises(ArtifactError, match="only the batch size may be dynamic"):
        _ = session.input_shape


def test_metadata_comes_back(tmp_path: Path) -> None:
    assert onnxruntime_cpu.load(build(tmp_path / "m.onnx"), Config()).metadata() == METADATA


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({}, "must carry whc's metadata"),
        ({"author": "somebody"}, "must carry whc's metadata"),
        ({"whc.task": "classification"}, "metadata is damaged"),
        (METADATA.to_properties() | {"whc.labels": "[1,"}, "metadata is damaged"),
        (METADATA.to_properties() | {"whc.schema": "99"}, "upgrade whc"),
    ],
)
def test_metadata_that_is_not_ours(tmp_path: Path, properties: dict[str, str], said: str) -> None:
    session = onnxruntime_cpu.load(build(tmp_path / "m.onnx", properties=properties), Config())
    with pytest.raises(ArtifactError, match=said) as caught:
        session.metadata()
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    assert "got nothing there" in refusal(tmp_path / "m.onnx")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x07" * 100])
def test_not_onnx(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    assert "must be an ONNX file that ONNX Runtime can run" in refusal(tmp_path / "m.onnx")
    assert capfd.readouterr().err == ""


def test_truncated(tmp_path: Path) -> None:
    path = build(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:-20])
    refusal(path)


def test_unknown_operator(tmp_path: Path) -> None:
    assert "must be an ONNX file that ONNX Runtime can run" in refusal(build(tmp_path / "m.onnx", operator="Juggle"))


def test_two_inputs(tmp_path: Path) -> None:
    assert "must have one float32 input" in refusal(build(tmp_path / "m.onnx", extra_input=True))


def test_threads_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Config(threads=0)
