"""Pictures with label files on disk, sound until a test changes something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import numpy as np
import pytest

from whc.data.sources import BuildConfig, SourceScan
from whc.tasks.detection import Detection, files, rows

Put = Callable[..., Path]


class BoxSource:
    """What building and reading ask of the task."""

    needs_every_stratum = False
    decode_scale = 1.5
    required_columns = (rows.COLUMN,)
    scan_files = staticmethod(files.scan)
    label_readers = staticmethod(rows.label_readers)
    read_rows = staticmethod(rows.read)
    label_strokes = staticmethod(Detection.label_strokes)


def noise(seed: int, height: int = 30, width: int = 40) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


@pytest.fixture
def task() -> Any:
    """The task, as far as files and rows go."""
    return BoxSource


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes a file below `data/`: text or bytes as they are, None a picture of its own; gives the folder `data`."""

    def write(name: str, content: str | bytes | None = None, size: tuple[int, int] = (30, 40)) -> Path:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            content = noise(crc32(name.encode()), *size)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / "data"

    return write


@pytest.fixture
def look() -> Callable[..., SourceScan]:
    """Scans a folder, split anew unless it says otherwise."""

    def scan(folder: Path, **settings: Any) -> SourceScan:
        split = {} if "lists" in settings else {"split": (0.7, 0.15, 0.15)}
        return files.scan(BuildConfig.model_validate({"kind": "images", "folder": folder} | split | settings))

    return scan


@pytest.fixture
def voc_text() -> Callable[..., str]:
    """Gives a VOC file for a picture of 40x30 pixels: `voc_text(("dog", 1, 1, 40, 30), size=(40, 30))`."""

    def make(*objects: Sequence[Any], size: tuple[int, int] | None = (40, 30)) -> str:
        sizes = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
        inner = "".join(
            f"<object><name>{name}</name><difficult>1</difficult><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
            f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for name, left, top, right, bottom in objects
        )
        return f"<annotation>{sizes}{inner}</annotation>"

    return make
