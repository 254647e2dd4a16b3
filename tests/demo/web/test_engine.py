"""The engine of the page in a real browser: the same tensors, answers, boxes and people as Python's."""

from __future__ import annotations

import base64
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from whc.data.preprocess import INTERPOLATION_METHODS, LAYOUTS, resize, to_input
from whc.demo import model as models
from whc.demo.predict import predict
from whc.demo.web.descriptions import model_description
from whc.records import ModelMetadata

Job = Callable[..., Any]
SIZES = ((1, 1), (7, 5), (16, 16), (33, 20), (48, 64), (61, 97))
PICTURES = 50


def bytes_of(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(base64.b64decode(text), np.uint8)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("interpolation", INTERPOLATION_METHODS)
def test_a_resized_picture(interpolation: str, rng: np.random.Generator, in_browser: Job) -> None:
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
    cases = [(image, size) for image in pictures for size in (*SIZES, (24, 32), (2 * image.shape[0], image.shape[1]))]
    ours = in_browser(
        "resized",
        cases=[
            {"picture": image, "height": height, "width": width, "interpolation": interpolation}
            for image, (height, width) in cases
        ],
    )
    for (image, size), text in zip(cases, ours, strict=True):
        expected = resize(image, *size, interpolation)
        np.testing.assert_array_equal(bytes_of(text).reshape(expected.shape), expected, f"{image.shape} to {size}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_input(layout: str, rng: np.random.Generator, in_browser: Job) -> None:
    frames = 1 if layout == "still" else 3
    windows = rng.integers(0, 256, (2, frames, 5, 4, 3), np.uint8)
    ours = in_browser("input", windows=[list(window) for window in windows], layout=layout)
    expected = to_input(windows, layout)
    assert tuple(ours["shape"]) == expected.shape
    np.testing.assert_array_equal(np.float32(ours["data"]), expected.ravel())


@pytest.fixture
def smile_files(shared: Path, tmp_path: Path) -> Path:
    """A folder of PICTURES pictures, as they are in the data."""
    table = pq.ParquetFile(shared / "data" / "smile" / "dataset.parquet").read(["split", "image_bytes"]).to_pandas()
    folder = tmp_path / "smile"
    folder.mkdir()
    for number, encoded in enumerate(table[table["split"] == "test"]["image_bytes"][:PICTURES]):
        (folder / f"{number:02d}.jpg").write_bytes(encoded)
    return folder


@pytest.fixture
def smile_model(tmp_path: Path, make_metadata: Callable[..., ModelMetadata], season: Callable[..., Any]) -> Path:
    """A classifier of 40x40 pictures as whc exports it, whose threshold divides the pictures of `smile_files`."""
    import torch

    from whc.export import onnx as exporter
    from whc.models.assemble import ModelConfig, build
    from whc.tasks.classification import Classification, Config

    torch.manual_seed(0)
    config = ModelConfig.model_validate({"width": 8, "depth": 2, "image_size": 40})
    network = season(build(config, 1), config.input_shape)
    metadata = make_metadata(labels=["no_smiling", "smiling"], height=40, width=40, task_config={"threshold": 0.1})
    task = Classification(("no_smiling", "smiling"), Config())
    path = tmp_path / "smile_m.onnx"
    exporter.export(network, task, path, metadata, config.input_shape, exporter.Config())
    return path


def test_probabilities_are_those_of_predict(
    smile_files: Path, smile_model: Path, tmp_path: Path, in_browser: Job
) -> None:
    predict(models.load(smile_model), smile_files, tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()))
    seen = in_browser(
        "watched",
        model={"bytes": smile_model.read_bytes(), "description": model_description(smile_model)},
        detector=None,
        fps=None,
        frames=[{"file": (smile_files / row["path"]).read_bytes(), "seconds": i} for i, row in enumerate(rows)],
    )
    probabilities = [float(row["prob_smiling"]) for row in rows]
    assert len(rows) == PICTURES
    assert {row["label"] for row in rows} == {"no_smiling", "smiling"}
    for frame, row, probability in zip(seen, rows, probabilities, strict=True):
        (sighting,) = frame["sightings"]
        assert sighting["output"] == pytest.approx([probability], abs=1e-3)
        assert sighting["reading"]["title"] == row["label"]
        assert sighting["isFresh"]
        assert frame["modelMs"] > 0
