"""Small data sets on disk, sound until a test changes something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whc.data.preprocess import Image

Size = tuple[int, int]
Columns = dict[str, Any]
WriteDataset = Callable[..., Path]


def encode_png(seed: int, size: tuple[int, int] = (12, 10), channels: int = 3) -> bytes:
    shape = size if channels == 1 else (*size, channels)
    picture = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


def columns(clips_per_split: int = 4, frames: int = 3) -> Columns:
    """Every split has `clips_per_split` clips of `frames` frames, classes in turn, one person a clip."""
    names = [(s, c) for s in ("train", "val", "test") for c in range(clips_per_split)]
    rows = [(split, clip, frame) for split, clip in names for frame in range(frames)]
    return {
        "split": [split for split, _, _ in rows],
        "image_bytes": [encode_png(i) for i in range(len(rows))],
        "class_id": [clip % 2 for _, clip, _ in rows],
        "label": [("no", "yes")[clip % 2] for _, clip, _ in rows],
        "image_path": [f"{split}{clip}/{frame}.png" for split, clip, frame in rows],
        "video_id": [f"{split}{clip}" for split, clip, _ in rows],
        "timestamp": [frame for _, _, frame in rows],
        "person_id": [f"somebody {split}{clip}" for split, clip, _ in rows],
    }


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Gives a PNG file of noise: `png(seed, size=(height, width), channels=1, 3 or 4)`."""
    return encode_png


@pytest.fixture
def write_dataset(tmp_path: Path) -> WriteDataset:
    """Call with a function that changes the columns in place, and with schema metadata; gives the file's path."""

    def write(
        change: Callable[[Columns], object] | None = None, metadata: dict[str, str] | None = None, **size: int
    ) -> Path:
        content = columns(**size)
        if change:
            change(content)
        path = tmp_path / "dataset.parquet"
        pq.write_table(pa.table(content).replace_schema_metadata(metadata), path)
        return path

    return write


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes RGB pictures as an MP4: `make_video(pictures, fps=30, name="clip.mp4")`; folders are made."""

    def make(pictures: list[Image], fps: float = 30.0, name: str = "clip.mp4", size: Size | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = size or pictures[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        assert writer.isOpened()
        for picture in pictures:
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
        writer.release()
        return path

    return make


@pytest.fixture
def make_mjpeg(tmp_path: Path) -> Callable[..., Path]:
    """Writes RGB pictures, of any sizes, as a stream of JPEG files one after the other."""

    def make(pictures: list[Image], name: str = "clip.mjpeg") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files = [cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1] for picture in pictures]
        path.write_bytes(b"".join(file.tobytes() for file in files))
        return path

    return make
