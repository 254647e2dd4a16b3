from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from whc.errors import ArtifactError
from whc.records import ModelMetadata
from whc.runtimes import onnxruntime_cpu
from whc.runtimes.onnxruntime_cpu import Config

Build = Callable[..., Path]


@pytest.mark.parametrize("threads", [1, 2])
def test_runs_batches(build: Build, threads: int) -> None:
    path = build()
    session = onnxruntime_cpu.load(path, Config(threads=threads))
    images = np.random.default_rng(0).random((5, 3, 4, 6), np.float32)
    probabilities = session.run(images)
    assert probabilities.dtype == np.float32
    assert probabilities == pytest.approx(images.mean(axis=(1, 2, 3)), abs=1e-6)
    assert session.path == path


def test_runs_any_number_of_frames_where_it_is_open(build: Build, metadata: ModelMetadata) -> None:
    properties = metadata.model_copy(update={"frames": 5}).to_properties()
    session = onnxruntime_cpu.load(build(("batch", "frames", 4, 6), properties), Config())
    for frames in (1, 5, 8):
        images = np.random.default_rng(0).random((2, frames, 4, 6), np.float32)
        assert session.run(images) == pytest.approx(images.mean(axis=(1, 2, 3)), abs=1e-6)


def test_threads_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Config(threads=0)


def test_a_file_that_fails_while_it_runs(build: Build) -> None:
    """A shape that does not fit, of which no runtime knows before it has computed it from the input."""
    path = build()
    model = onnx.load(path)
    helper, kind = onnx.helper, onnx.TensorProto
    model.graph.node[0].output[0] = "mean"
    model.graph.initializer.append(helper.make_tensor("seven", kind.FLOAT, [], [7.0]))
    model.graph.node.extend(
        [
            helper.make_node("Add", ["mean", "seven"], ["over_seven"]),
            helper.make_node("Cast", ["over_seven"], ["shape"], to=kind.INT64),
            helper.make_node("Reshape", ["mean", "shape"], ["prob"]),
        ]
    )
    onnx.save(model, path)
    session = onnxruntime_cpu.load(path, Config())
    with pytest.raises(ArtifactError) as caught:
        session.run(np.zeros((1, 3, 4, 6), np.float32))
    assert str(caught.value).startswith(f"{path}: must be an ONNX file that ")
    assert "\n" not in str(caught.value)


def test_threads_may_share_a_session(build: Build) -> None:
    """A single input goes through buffers that belong to the session."""
    session = onnxruntime_cpu.load(build(), Config())
    images = np.random.default_rng(0).random((200, 1, 3, 4, 6), np.float32)
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(session.run, images))
    np.testing.assert_allclose(np.concatenate(outputs), images.mean(axis=(1, 2, 3, 4)), atol=1e-6)


def test_an_output_of_another_shape_than_the_file_says(build: Build) -> None:
    path = build()
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 2
    onnx.save(model, path)
    session = onnxruntime_cpu.load(path, Config())
    for images in np.random.default_rng(0).random((3, 1, 3, 4, 6), np.float32):
        assert session.run(images) == pytest.approx(images.mean(axis=(1, 2, 3)), abs=1e-6)


def test_pictures_in_any_order_of_memory(build: Build) -> None:
    session = onnxruntime_cpu.load(build(), Config())
    images = np.random.default_rng(0).random((1, 4, 6, 3), np.float32).transpose(0, 3, 1, 2)
    assert session.run(images) == pytest.approx(images.mean(axis=(1, 2, 3)), abs=1e-6)
