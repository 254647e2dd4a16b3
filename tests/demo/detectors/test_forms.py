"""Each form of detector, on a drawn face and on people in clips."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from whc.data.preprocess import Image
from whc.data.video import open_video
from whc.demo import detectors
from whc.demo.detectors import Detector, best_boxes
from whc.errors import ArtifactError, UsageError

Draw = Callable[..., Image]
FORMS = ("face", "yunet", "ultraface", "blazeface")
FRAMES = {  # of clips: the number of people in them, and in how many of the frames looked at they must all be found
    "head-pose-face-detection-male.mp4": 1,
    "head-pose-face-detection-female.mp4": 1,
    "head-pose-face-detection-female-and-male.mp4": 2,
}
EVERY = 11  # frames

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(params=FORMS)
def detector(request: pytest.FixtureRequest) -> Detector:
    if request.param == "face":
        return detectors.load("face")
    return detectors.load(request.getfixturevalue("detector_file")(request.param))


def test_a_drawn_face_is_found(detector: Detector, draw_face: Draw) -> None:
    assert detector.what == "face"
    for x, y, side in ((200, 110, 120), (100, 130, 100)):
        boxes = detector.find(draw_face(x, y, side))
        assert boxes.shape == (1, 5)
        score, cx, cy, w, h = boxes[0]
        assert 0.5 < score <= 1
        assert (cx * 320, cy * 240) == pytest.approx((x, y), abs=0.15 * side)
        assert 0.6 * side < w * 320 < 1.6 * side
        assert 0.6 * side < h * 240 < 1.6 * side


@pytest.mark.parametrize("size", [(1, 1), (7, 900), (240, 320), (900, 7)])
def test_nothing_is_found_in_an_empty_picture_of_any_shape(detector: Detector, size: tuple[int, int]) -> None:
    assert detector.find(np.full((*size, 3), 120, np.uint8)).shape == (0, 5)


FIND_REPEATEDLY = """
import sys
import numpy as np
from whc.demo import detectors

rng = np.random.default_rng(0)
sizes = [(7, 900), (900, 7), (20, 20)]
found = 0
for _ in range(10):
    find = detectors.load(sys.argv[1]).find
    for size in sizes:
        freed = [rng.normal(0, 50, rng.integers(10, 15000)).astype(np.float32) for _ in range(300)]
        del freed
        found += len(find(np.full((*size, 3), 120, np.uint8)))
print(found)
"""


def test_boxes_do_not_depend_on_what_memory_held(detector_file: Callable[[str], str]) -> None:
    command = [sys.executable, "-c", FIND_REPEATEDLY, detector_file("yunet")]
    env = os.environ | {"MALLOC_PERTURB_": "66"}  # what glibc fills fresh memory with
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_the_picture_is_not_changed(detector: Detector, draw_face: Draw) -> None:
    picture = draw_face()
    detector.find(picture)
    np.testing.assert_array_equal(picture, draw_face())


@pytest.mark.parametrize("clip", FRAMES)
def test_all_people_of_a_clip_are_found(detector: Detector, shared: Path, clip: str) -> None:
    with open_video(shared / "data" / "video" / clip) as video:
        counts = [len(detector.find(frame.picture)) for number, frame in enumerate(video) if number % EVERY == 0]
    assert counts == [FRAMES[clip]] * len(counts)


def test_a_tilted_face_is_found(draw_face: Draw) -> None:
    turn = cv2.getRotationMatrix2D((200, 110), 25, 1)
    tilted = cv2.warpAffine(draw_face(), turn, (320, 240), borderMode=cv2.BORDER_REPLICATE)
    assert len(detectors.load("face").find(np.asarray(tilted, np.uint8))) == 1


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="must be an ONNX file, got nothing there"):
        detectors.load(str(tmp_path / "none.onnx"))


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("a face")
    with pytest.raises(ArtifactError, match="must be an ONNX file that any runtime can run"):
        detectors.load(str(path))


def test_a_file_of_another_form_names_the_forms(shared: Path) -> None:
    with pytest.raises(UsageError) as caught:
        detectors.load(str(shared / "models" / "FastestDet.onnx"))
    for form in ("face", "YuNet", "UltraFace", "BlazeFace front 128", "a detection model of whc"):
        assert form in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_is_for_detection_models_of_whc() -> None:
    with pytest.raises(UsageError, match="--detect-class: must be a class of a whc detection model, got 'eye'"):
        detectors.load("face", detectors.Settings(label="eye"))


def test_best_boxes_are_apart_sorted_and_real() -> None:
    rows: list[list[Any]] = [
        [0.4, 0.5, 0.5, 0.2, 0.2],
        [0.9, 0.51, 0.5, 0.2, 0.2],
        [0.5, 0.9, 0.9, 0.1, 0.1],
        [0.8, 0.2, 0.2, 0.0, 0.1],
        [0.7, 0.2, 0.2, 3.0, 0.1],
        [math.nan, 0.2, 0.2, 0.1, 0.1],
        [0.6, math.inf, 0.2, 0.1, 0.1],
    ]
    found = best_boxes(np.array(rows), max_overlap=0.3)
    assert found[:, 0].tolist() == [0.9, 0.5]
    assert best_boxes(np.empty((0, 5)), 0.3).shape == (0, 5)
