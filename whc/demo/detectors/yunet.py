"""Faces by YuNet (Wu et al. 2023), which OpenCV's FaceDetectorYN runs: an ONNX file of opencv_zoo."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from pydantic import Field

from whc.data.preprocess import Image
from whc.demo.detectors import Boxes, Detector, Form, Settings, best_boxes
from whc.plugins import PluginConfig
from whc.runtimes.model_file import unusable_file

NEEDS_FILE = True
FORM = "YuNet"
STRIDES = (8, 16, 32)
OUTPUT_NAMES = frozenset(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
MAX_OVERLAP = 0.3
MIN_SIDE_PIXELS = 64  # of 32, OpenCV's network reads memory that nobody wrote, and finds faces in it


class Config(PluginConfig):
    """`longest_side`: pixels to which a larger picture is shrunk. `least_score`: that of a face."""

    longest_side: int = Field(480, ge=32)
    least_score: float = Field(0.6, gt=0, lt=1)


def reads(form: Form) -> bool:
    """Whether the outputs are those of YuNet: classes, objects, boxes and key points at three strides."""
    return set(form.outputs) == OUTPUT_NAMES


def load(form: Form | None, config: Config, settings: Settings) -> Detector:
    """Load the network and run it once.

    Raises:
        ArtifactError: OpenCV cannot run the file.
    """
    del settings
    assert form is not None  # noqa: S101 (NEEDS_FILE)
    try:
        network = cv2.FaceDetectorYN.create(str(form.path), "", (MIN_SIDE_PIXELS, MIN_SIDE_PIXELS), config.least_score)
        find = partial(_find, network, config)
        find(np.zeros((MIN_SIDE_PIXELS, MIN_SIDE_PIXELS, 3), np.uint8))
    except cv2.error as error:
        raise unusable_file(form.path, "OpenCV", error) from error
    return Detector(str(form.path), "face", find)


def _find(network: cv2.FaceDetectorYN, config: Config, picture: Image) -> Boxes:
    scale = min(1.0, config.longest_side / max(picture.shape[:2]))
    height, width = (max(MIN_SIDE_PIXELS, round(side * scale)) for side in picture.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (width, height), interpolation=method)
    network.setInputSize((width, height))
    _, faces = network.detect(resized)
    if faces is None:
        return np.empty((0, 5))
    rows = np.asarray(faces, np.float64)
    rows = rows[np.isfinite(rows).all(1)]
    sides = rows[:, 2:4]
    boxes = np.column_stack([rows[:, 14], rows[:, :2] + sides / 2, sides]) / (1, width, height, width, height)
    return best_boxes(boxes, MAX_OVERLAP)
