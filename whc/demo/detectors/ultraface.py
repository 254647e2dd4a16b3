"""Faces by UltraFace (github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB), such as its RFB-320.

Its files exist with boxes as corners, and with boxes as differences from fixed ones (SSD, Liu et al. 2016).
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc.data.preprocess import Image, resize
from whc.demo.detectors import Boxes, Detector, Form, Settings, best_boxes, network
from whc.errors import ArtifactError, problem
from whc.plugins import PluginConfig

NEEDS_FILE = True
FORM = "UltraFace"
MAX_OVERLAP = 0.3
CELLS = {8: (10, 16, 24), 16: (32, 48), 32: (64, 96), 64: (128, 192, 256)}  # sides of fixed boxes by stride, in pixels
CENTRE_SCALE, SIDE_SCALE = 0.1, 0.2  # of the differences


class Config(PluginConfig):
    """`least_score`: that of a face."""

    least_score: float = Field(0.7, gt=0, lt=1)


def reads(form: Form) -> bool:
    """Whether the input is one picture, and the outputs are N scores of two classes and N boxes."""
    shapes = list(form.outputs.values())
    if len(form.shape) != 4 or form.shape[1] != 3 or len(shapes) != 2 or not all(len(shape) == 3 for shape in shapes):
        return False
    sizes = all(isinstance(size, int) for size in form.shape[2:])
    return sizes and [shape[2] for shape in shapes] == [2, 4] and shapes[0][1] == shapes[1][1]


def load(form: Form | None, config: Config, settings: Settings) -> Detector:
    """Load the network.

    Raises:
        ArtifactError: the file cannot be run.
    """
    assert form is not None  # noqa: S101 (NEEDS_FILE)
    height, width = (int(size or 0) for size in form.shape[2:])
    run = network.load(form, settings)
    black = run(np.zeros((1, 3, height, width), np.float32))[1][0]
    has_corners = bool((black[:, 2:] > black[:, :2]).all())
    fixed = None if has_corners else _fixed_boxes(height, width)
    if fixed is not None and len(fixed) != len(black):
        rule = "must have its boxes as corners, or as differences from UltraFace's"
        raise ArtifactError(problem(str(form.path), rule, f"{len(black)} boxes", "choose another detector"))
    return Detector(str(form.path), "face", partial(_find, run, (height, width), fixed, config.least_score))


def _fixed_boxes(height: int, width: int) -> NDArray[np.float64]:
    """The boxes (N, 4) cx, cy, w, h, in shares of the input, from which the network gives differences."""
    boxes = []
    for stride, sides in CELLS.items():
        rows, columns = math.ceil(height / stride), math.ceil(width / stride)
        y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
        centres = np.repeat(np.stack([x, y], -1).reshape(-1, 2), len(sides), axis=0)
        pixels = np.tile(np.asarray(sides, np.float64), rows * columns)
        boxes.append(np.column_stack([centres, pixels / width, pixels / height]))
    return np.concatenate(boxes)


def _find(
    run: network.Run, size: tuple[int, int], fixed: NDArray[np.float64] | None, least_score: float, picture: Image
) -> Boxes:
    pixels = (resize(picture, *size).astype(np.float32) - np.float32(127)) / np.float32(128)
    scores, numbers = (output[0].astype(np.float64) for output in run(pixels.transpose(2, 0, 1)[None]))
    is_face = scores[:, 1] >= least_score
    first, last = numbers[is_face, :2], numbers[is_face, 2:]
    if fixed is None:
        centres, sides = (first + last) / 2, last - first
    else:
        own = fixed[is_face]
        centres = own[:, :2] + CENTRE_SCALE * first * own[:, 2:]
        sides = own[:, 2:] * np.exp(SIDE_SCALE * last)
    return best_boxes(np.column_stack([scores[is_face, 1], centres, sides]), MAX_OVERLAP)
