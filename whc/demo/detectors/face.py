"""Faces by OpenCV's own frontal Haar cascade, which comes with its wheel.

The cascade knows upright faces alone, so it also looks at the picture turned to each side.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from pydantic import Field

from whc.data.preprocess import Image
from whc.demo.detectors import Boxes, Detector, Form, Settings, best_boxes
from whc.errors import ArtifactError
from whc.plugins import PluginConfig

NEEDS_FILE = False
FORM = "OpenCV's frontal Haar cascade"
CASCADE_FILE = "haarcascade_frontalface_default.xml"
MAX_OVERLAP = 0.3
SCORE_SCALE = 2.5  # of the cascade's weight; about 6 for a clear face
TURNED_LOSS = 0.05  # of the score, so that an upright find wins


class Config(PluginConfig):
    """`longest_side`: pixels to which a larger picture is shrunk. `turns`: degrees by which the picture is turned.

    `least_share`: least side of a face, as a share of the picture's shorter side. `neighbours`: agreeing places that
    make a find.
    """

    longest_side: int = Field(480, ge=32)
    turns: tuple[float, ...] = (0.0, 25.0, -25.0)
    least_share: float = Field(0.1, gt=0, le=1)
    neighbours: int = Field(7, ge=1)


def reads(form: Form) -> bool:
    """No file is of this form."""
    del form
    return False


def load(form: Form | None, config: Config, settings: Settings) -> Detector:
    """Load the cascade of the installed OpenCV.

    Raises:
        ArtifactError: this OpenCV has no such cascade.
    """
    del form, settings
    path = Path(cv2.data.haarcascades, CASCADE_FILE)
    cascade = cv2.CascadeClassifier(str(path)) if path.is_file() else None
    if cascade is None or cascade.empty():
        raise ArtifactError(f"--detect face: must find OpenCV's {path}, got none; install opencv-python 4")
    return Detector("face", "face", partial(_find, cascade, config))


def _find(cascade: cv2.CascadeClassifier, config: Config, picture: Image) -> Boxes:
    scale = min(1.0, config.longest_side / max(picture.shape[:2]))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = [_upright(cascade, config, np.asarray(grey, np.uint8), degrees) for degrees in config.turns]
    height, width = grey.shape
    boxes = np.concatenate(found) / (1, width, height, width, height)
    return best_boxes(boxes, MAX_OVERLAP)


def _upright(cascade: cv2.CascadeClassifier, config: Config, grey: Image, degrees: float) -> Boxes:
    """Faces that are upright once the picture is turned: score, cx, cy, side, side in pixels of the picture."""
    height, width = grey.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    turned = cv2.warpAffine(grey, turn, (width, height), borderMode=cv2.BORDER_REPLICATE) if degrees else grey
    least = max(1, round(config.least_share * min(height, width)))
    found, _, weights = cascade.detectMultiScale3(
        turned, 1.1, config.neighbours, minSize=(least, least), outputRejectLevels=True
    )
    if not len(found):
        return np.empty((0, 5))
    boxes = np.asarray(found, np.float64)
    sides = boxes[:, 2:]
    centres = cv2.transform((boxes[:, :2] + sides / 2)[None], cv2.invertAffineTransform(turn))[0]
    scores = 1 / (1 + np.exp(-np.ravel(weights) / SCORE_SCALE)) - (TURNED_LOSS if degrees else 0)
    return np.column_stack([np.clip(scores, 0, 1), centres, sides])
