"""Tiny models with whc's metadata, and clips to run them on."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from whc.data.preprocess import Image
from whc.records import ModelMetadata

SIZE = 16
LABELS = ["dark", "bright"]
Describe = Callable[..., ModelMetadata]


@pytest.fixture
def metadata(make_metadata: Callable[..., ModelMetadata]) -> Describe:
    """Says what a still model of bright pictures is; keywords change it."""
    return partial(make_metadata, labels=LABELS, height=SIZE, width=SIZE)


def save_model(path: Path, graph: onnx.GraphProto, properties: dict[str, str]) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def brightness_graph(channels: int = 3, size: int = SIZE) -> onnx.GraphProto:
    """Probability: the mean of all channels, so 0.5 is mid grey."""
    return helper.make_graph(
        [helper.make_node("ReduceMean", ["images", "axes"], ["prob_bright"], keepdims=0)],
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", channels, size, size])],
        [helper.make_tensor_value_info("prob_bright", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])],
    )


def change_graph(frames: int, size: int = SIZE) -> onnx.GraphProto:
    """Probability: mean of |last frame - first frame|."""
    ints = {"axes": [1, 2, 3], "zero": [0], "three": [3], "last": [3 * frames - 3], "end": [3 * frames], "one": [1]}
    return helper.make_graph(
        [
            helper.make_node("Slice", ["images", "zero", "three", "one"], ["first_frame"]),
            helper.make_node("Slice", ["images", "last", "end", "one"], ["last_frame"]),
            helper.make_node("Sub", ["last_frame", "first_frame"], ["difference"]),
            helper.make_node("Abs", ["difference"], ["distance"]),
            helper.make_node("ReduceMean", ["distance", "axes"], ["prob_moved"], keepdims=0),
        ],
        "change",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3 * frames, size, size])],
        [helper.make_tensor_value_info("prob_moved", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor(name, TensorProto.INT64, [len(value)], value) for name, value in ints.items()],
    )


def colour_graph(size: int = SIZE) -> onnx.GraphProto:
    """Probabilities of red, green and blue: the softmax of ten times each channel's mean."""
    return helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images", "axes"], ["means"], keepdims=0),
            helper.make_node("Mul", ["means", "ten"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probs"], axis=1),
        ],
        "colour",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["batch", 3])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]),
            helper.make_tensor("ten", TensorProto.FLOAT, [], [10.0]),
        ],
    )


@pytest.fixture
def colour_model(tmp_path: Path, metadata: Describe) -> Callable[..., Path]:
    """Builds a still model of three labels that calls a frame's strongest colour; keywords change its metadata."""

    def build(**changes: Any) -> Path:
        described = metadata(**({"labels": ["red", "green", "blue"]} | changes))
        return save_model(tmp_path / "colour.onnx", colour_graph(), described.to_properties())

    return build


@pytest.fixture
def brightness_model(tmp_path: Path, metadata: Describe) -> Callable[..., Path]:
    """Builds a still model that calls bright frames positive; keywords change its metadata."""

    def build(**changes: Any) -> Path:
        return save_model(tmp_path / "bright.onnx", brightness_graph(), metadata(**changes).to_properties())

    return build


def box_graph(boxes: list[list[float]], size: int = SIZE) -> onnx.GraphProto:
    """The same boxes (score, class, cx, cy, w, h) for every picture, whatever it shows."""
    return helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Reshape", ["nothing", "shape"], ["zeros"]),
            helper.make_node("Add", ["zeros", "boxes"], ["detections"]),
        ],
        "boxes",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["batch", len(boxes), 6])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("shape", TensorProto.INT64, [3], [-1, 1, 1]),
            helper.make_tensor("boxes", TensorProto.FLOAT, [1, len(boxes), 6], np.ravel(boxes).tolist()),
        ],
    )


@pytest.fixture
def box_model(tmp_path: Path, metadata: Describe) -> Callable[..., Path]:
    """Builds a detection model that always gives the same boxes (score, class, cx, cy, w, h), best first."""

    def build(boxes: list[list[float]], name: str = "boxes.onnx", **changes: Any) -> Path:
        task_config = {"max_boxes": len(boxes), "threshold": 0.3}
        own = {"task": "detection", "labels": ["person", "hand"], "task_config": task_config}
        return save_model(tmp_path / name, box_graph(boxes), metadata(**(own | changes)).to_properties())

    return build


@pytest.fixture
def offset_model(tmp_path: Path, metadata: Describe) -> Callable[[float], Path]:
    """Builds a still model that gives the mean of all channels and a number on top."""

    def build(offset: float) -> Path:
        graph = brightness_graph()
        graph.node[0].output[0] = "mean"
        graph.node.append(helper.make_node("Add", ["mean", "offset"], ["prob_bright"]))
        graph.initializer.append(helper.make_tensor("offset", TensorProto.FLOAT, [], [offset]))
        return save_model(tmp_path / "offset.onnx", graph, metadata().to_properties())

    return build


@pytest.fixture
def change_model(tmp_path: Path, metadata: Describe) -> Callable[..., Path]:
    """Builds a frame_stack model that fires when the window's last frame differs from its first."""

    def build(frames: int = 4, frame_rate: float | None = 10.0, **changes: Any) -> Path:
        own = {"labels": ["calm", "moved"], "layout": "frame_stack", "frames": frames}
        described = metadata(**(own | {"frame_rate": frame_rate} | changes))
        return save_model(tmp_path / "change.onnx", change_graph(frames), described.to_properties())

    return build


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Builds a folder of PNG files from RGB pictures, named in their order."""

    def build(pictures: list[Image], name: str = "images") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number, picture in enumerate(pictures):
            (folder / f"{number:03d}.png").write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
        return folder

    return build


@pytest.fixture
def video(tmp_path: Path) -> Callable[..., Path]:
    """Builds an MP4 from RGB pictures."""

    def build(pictures: list[Image], fps: float = 30.0, name: str = "clip.mp4") -> Path:
        path = tmp_path / name
        height, width = pictures[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        assert writer.isOpened()
        for picture in pictures:
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
        writer.release()
        return path

    return build


@pytest.fixture
def grey() -> Callable[..., Image]:
    """Builds a picture of one shade, 0..255."""
    return lambda shade, height=48, width=48: np.full((height, width, 3), shade, np.uint8)


@pytest.fixture
def real_videos() -> Path:
    shared = Path(os.environ.get("WHC_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "video"
    if not shared.is_dir():
        pytest.skip(f"no real videos at {shared}; set WHC_SHARED")
    return shared


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a table is to be written."""
    return tmp_path / "out.csv"


@pytest.fixture
def parquet(tmp_path: Path, grey: Callable[..., Image]) -> Callable[..., Path]:
    """Writes pictures of these shades, with further columns."""

    def encoded(picture: Image) -> bytes:
        return bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())

    def write(shades: list[int], frame_rate: float | None = None, **columns: Any) -> Path:
        content = {"image_bytes": [encoded(grey(shade, 20, 20)) for shade in shades], **columns}
        metadata = {"whc.frame_rate": str(frame_rate)} if frame_rate else None
        path = tmp_path / "crops.parquet"
        pq.write_table(pa.table(content).replace_schema_metadata(metadata), path)
        return path

    return write
