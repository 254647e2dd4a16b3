"""Faces by the Haar cascades that come with OpenCV's wheel: its frontal one, and its profile one for turned heads.

Both know upright heads alone, so they also look at the picture tilted to each side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc.data.preprocess import Image
from whc.demo.detectors import Boxes, Detector, Form, Settings, best_boxes
from whc.errors import ArtifactError
from whc.plugins import PluginConfig

NEEDS_FILE = False
FORM = "OpenCV's cascades of faces"
FRONTAL_FILE, PROFILE_FILE = "haarcascade_frontalface_default.xml", "haarcascade_profileface.xml"
MAX_OVERLAP = 0.3
SCALE_STEP = 1.15  # from one size of faces to the next
WEIGHT_SCALE = 2.5  # a clear face has a weight of about 6, which becomes a score of 0.9
TILTED_LOSS = 0.05  # of the score, so that an upright find wins


class Config(PluginConfig):
    """`longest_side`: pixels to which a larger picture is shrunk. `tilts`: degrees by which the picture is tilted.

    `least_share`: least side of a face, as a share of the picture's shorter side. `frontal_neighbours` and
    `profile_neighbours`: places that must agree on a face.
    """

    longest_side: int = Field(360, ge=32)
    tilts: tuple[float, ...] = (0.0, 25.0, -25.0)
    least_share: float = Field(0.12, gt=0, le=1)
    frontal_neighbours: int = Field(4, ge=1)
    profile_neighbours: int = Field(5, ge=1)


@dataclass(frozen=True)
class _Cascade:
    """A cascade; `is_one_sided`: it knows faces that look to one side, so it also looks at the mirrored picture.

    `trust` (0..1) multiplies its scores.
    """

    classifier: cv2.CascadeClassifier
    neighbours: int
    is_one_sided: bool
    trust: float


def reads(form: Form) -> bool:
    """No file is of this form."""
    del form
    return False


def load(form: Form | None, config: Config, settings: Settings) -> Detector:
    """Load the cascades of the installed OpenCV.

    Raises:
        ArtifactError: this OpenCV has no such cascades.
    """
    del form, settings
    frontal = _Cascade(_classifier(FRONTAL_FILE), config.frontal_neighbours, False, 1.0)
    profile = _Cascade(_classifier(PROFILE_FILE), config.profile_neighbours, True, 0.5)
    return Detector("face", "face", partial(_find, (frontal, profile), config))


def cascade_path(file: str) -> Path:
    """Where the installed OpenCV has a cascade.

    Raises:
        ArtifactError: it has none.
    """
    path = Path(cv2.__file__).with_name("data") / file
    if not path.is_file():
        raise ArtifactError(f"--detect face: must find OpenCV's {path}, got none; install opencv-python 4")
    return path


def _classifier(file: str) -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(str(cascade_path(file)))


def _find(cascades: Sequence[_Cascade], config: Config, picture: Image) -> Boxes:
    scale = min(1.0, config.longest_side / max(picture.shape[:2]))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = grey.shape
    found = [np.empty((0, 5))]
    for degrees in config.tilts:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
        tilted = cv2.warpAffine(grey, turn, (width, height), borderMode=cv2.BORDER_REPLICATE) if degrees else grey
        for cascade in cascades:
            boxes = _upright(cascade, config, np.asarray(tilted, np.uint8))
            boxes[:, 1:3] = cv2.transform(boxes[None, :, 1:3], cv2.invertAffineTransform(turn))[0] if len(boxes) else 0
            boxes[:, 0] -= TILTED_LOSS * bool(degrees)
            found.append(boxes)
    boxes = np.concatenate(found)
    boxes[:, 0] = boxes[:, 0].clip(0, 1)
    return _apart(best_boxes(boxes / (1, width, height, width, height), MAX_OVERLAP))


def _upright(cascade: _Cascade, config: Config, grey: Image) -> NDArray[np.float64]:
    """Upright faces: score, cx, cy, side, side in pixels."""
    least = max(1, round(config.least_share * min(grey.shape)))
    found = []
    for is_mirrored in (False, True) if cascade.is_one_sided else (False,):
        rectangles, _, weights = cascade.classifier.detectMultiScale3(
            cv2.flip(grey, 1) if is_mirrored else grey,
            SCALE_STEP,
            cascade.neighbours,
            minSize=(least, least),
            outputRejectLevels=True,
        )
        corners = np.reshape(np.asarray(rectangles, np.float64), (-1, 4))
        centres = corners[:, :2] + corners[:, 2:] / 2
        if is_mirrored:
            centres[:, 0] = grey.shape[1] - centres[:, 0]
        scores = cascade.trust / (1 + np.exp(-np.ravel(weights) / WEIGHT_SCALE))
        found.append(np.column_stack([scores, centres, corners[:, 2:]]))
    return np.concatenate(found)


def _apart(boxes: Boxes) -> Boxes:
    """Boxes without those whose centre lies in a better one: the two cascades frame a face differently."""
    kept: list[int] = []
    for i, box in enumerate(boxes):
        better = boxes[kept]
        is_inside = (np.abs(better[:, 1:3] - box[1:3]) < better[:, 3:] / 2).all(1)
        if not is_inside.any():
            kept.append(i)
    return boxes[kept]
