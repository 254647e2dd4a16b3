"""Drawn faces, and detectors of each form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from whc.data.preprocess import Image

SHIPPED = {
    "yunet": "face_detection_yunet_2026may.onnx",
    "ultraface": "ultraface_RFB-320.onnx",
    "blazeface": "blazeface_front_128.onnx",
}


@pytest.fixture(scope="session")
def draw_face() -> Callable[..., Image]:
    """Draws a face so high (in pixels, without its hair) at x, y on a grey picture of 320x240."""

    def draw(x: int = 200, y: int = 110, side: int = 120) -> Image:
        picture = np.full((240, 320, 3), 120, np.uint8)

        def ellipse(cx: float, cy: float, a: float, b: float, shade: int) -> None:
            centre = (round(x + cx * side), round(y + cy * side))
            cv2.ellipse(picture, centre, (round(a * side), round(b * side)), 0, 0, 360, (shade,) * 3, cv2.FILLED)

        ellipse(0, 0, 0.42, 0.55, 205)
        ellipse(0, -0.45, 0.44, 0.2, 60)
        for eye in (-0.19, 0.19):
            ellipse(eye, -0.1, 0.12, 0.06, 110)
            ellipse(eye, -0.1, 0.06, 0.05, 40)
            ellipse(eye, -0.22, 0.14, 0.03, 70)
        ellipse(0, 0.1, 0.05, 0.16, 225)
        ellipse(0, 0.2, 0.09, 0.03, 150)
        ellipse(0, 0.36, 0.17, 0.05, 110)
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), side / 40), np.uint8)

    return draw


@pytest.fixture
def detector_file(shared: Path) -> Callable[[str], str]:
    """The file of a form that somebody else trained; the test is skipped where it is not."""

    def path(form: str) -> str:
        file = shared / "models" / SHIPPED[form]
        if not file.is_file():
            pytest.skip(f"needs {file}")
        return str(file)

    return path
