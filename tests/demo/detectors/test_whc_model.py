"""A detection model of whc as a detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from whc.demo import detectors
from whc.errors import UsageError

Build = Callable[..., Path]
PERSON, HAND = [0.9, 0, 0.3, 0.5, 0.2, 0.4], [0.6, 1, 0.7, 0.5, 0.1, 0.1]
BELOW = [0.1, 0, 0.5, 0.9, 0.1, 0.1]
PICTURE = np.zeros((40, 60, 3), np.uint8)


def test_boxes_that_count(box_model: Build) -> None:
    detector = detectors.load(str(box_model([PERSON, HAND, BELOW])))
    np.testing.assert_allclose(detector.find(PICTURE), [[0.9, 0.3, 0.5, 0.2, 0.4], [0.6, 0.7, 0.5, 0.1, 0.1]], 1e-6)
    assert detector.what == "object"


def test_boxes_of_a_class(box_model: Build) -> None:
    detector = detectors.load(str(box_model([PERSON, HAND, BELOW])), detectors.Settings(label="hand"))
    np.testing.assert_allclose(detector.find(PICTURE), [[0.6, 0.7, 0.5, 0.1, 0.1]], 1e-6)
    assert detector.what == "hand"


def test_the_only_class_is_what_it_finds(box_model: Build) -> None:
    assert detectors.load(str(box_model([PERSON], labels=["person"]))).what == "person"


def test_an_unknown_class(box_model: Build) -> None:
    with pytest.raises(UsageError, match=r"--detect-class: must be a class of .*, got 'dog'; choose one of person, h"):
        detectors.load(str(box_model([PERSON])), detectors.Settings(label="dog"))


def test_a_classifier_is_no_detector(brightness_model: Build) -> None:
    with pytest.raises(UsageError, match="must find boxes in single pictures, got 'task classification'; give it as -"):
        detectors.load(str(brightness_model()))


def test_a_model_of_several_frames_is_no_detector(change_model: Build) -> None:
    with pytest.raises(UsageError, match="must find boxes in single pictures"):
        detectors.load(str(change_model()))
