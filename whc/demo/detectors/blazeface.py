"""Faces by BlazeFace (Bazarevsky et al. 2019), MediaPipe's network for front cameras, at 128x128."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc.data.preprocess import Image, resize
from whc.demo.detectors import Boxes, Detector, Form, Settings, best_boxes, network
from whc.plugins import PluginConfig

NEEDS_FILE = True
FORM = "BlazeFace front 128"
SIDE = 128
GRIDS = ((16, 2), (8, 6))  # cells along a side, and boxes of a cell
MAX_OVERLAP = 0.3
MAX_LOGIT = 100.0


class Config(PluginConfig):
    """`least_score`: that of a face."""

    least_score: float = Field(0.7, gt=0, lt=1)


def reads(form: Form) -> bool:
    """Whether the input is 128x128, channels last, and the outputs are scores and boxes of both grids."""
    counts = [cells * cells * boxes for cells, boxes in GRIDS]
    expected = {(1, count, numbers) for count in counts for numbers in (1, 16)}
    return form.shape == (1, SIDE, SIDE, 3) and set(form.outputs.values()) == expected


def load(form: Form | None, config: Config, settings: Settings) -> Detector:
    """Load the network.

    Raises:
        ArtifactError: the file cannot be run.
    """
    assert form is not None  # noqa: S101 (NEEDS_FILE)
    run = network.load(form, settings)
    return Detector(str(form.path), "face", partial(_find, run, _cell_centres(), config.least_score))


def _cell_centres() -> NDArray[np.float64]:
    """Centres x, y (896, 2) of the cells of all boxes, in shares of the input."""
    centres = []
    for cells, boxes in GRIDS:
        middles = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(middles, middles, indexing="ij")
        centres.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), boxes, axis=0))
    return np.concatenate(centres)


def _find(run: network.Run, centres: NDArray[np.float64], least_score: float, picture: Image) -> Boxes:
    height, width = picture.shape[:2]
    side = max(height, width)
    down, across = (side - height) // 2, (side - width) // 2
    square = cv2.copyMakeBorder(picture, down, side - height - down, across, side - width - across, cv2.BORDER_CONSTANT)
    pixels = resize(np.asarray(square, np.uint8), SIDE, SIDE).astype(np.float32) / 127.5 - 1
    outputs = {output.shape[1:]: output[0].astype(np.float64) for output in run(pixels[None])}
    counts = [cells * cells * boxes for cells, boxes in GRIDS]
    logits = np.concatenate([outputs[count, 1] for count in counts])[:, 0]
    numbers = np.concatenate([outputs[count, 16] for count in counts]) / SIDE
    scores = 1 / (1 + np.exp(-np.clip(logits, -MAX_LOGIT, MAX_LOGIT)))
    is_face = scores >= least_score
    pixel_boxes = np.column_stack([centres + numbers[:, :2], numbers[:, 2:4]])[is_face] * side
    boxes = (pixel_boxes - (across, down, 0, 0)) / (width, height, width, height)
    return best_boxes(np.column_stack([scores[is_face], boxes]), MAX_OVERLAP)
