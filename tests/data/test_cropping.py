from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.data.cropping import (
    DEFAULT_MARGIN,
    MIN_FOUND,
    crop_edges,
    cut,
    margin_rule,
    margin_text,
    measure,
)
from whc.data.preprocess import Image
from whc.errors import UsageError
from whc.records import CropRule

shares = st.floats(0.05, 0.95)
sizes = st.tuples(st.integers(1, 400), st.integers(1, 400))


@given(st.tuples(shares, shares, shares, shares), sizes, st.floats(0.25, 4))
def test_a_crop_of_scale_1_covers_its_box(box: tuple[float, ...], size: tuple[int, int], aspect: float) -> None:
    (height, width), (cx, cy, w, h) = size, box
    left, top, right, bottom = crop_edges(box, size, CropRule(aspect=aspect))
    assert left <= (cx - w / 2) * width + 1
    assert right >= (cx + w / 2) * width - 1
    assert top <= (cy - h / 2) * height + 1
    assert bottom >= (cy + h / 2) * height - 1
    assert right > left
    assert bottom > top


@given(st.tuples(shares, shares, shares, shares), st.floats(-0.4, 1.5))
def test_the_margin_is_on_each_side(box: tuple[float, ...], margin: float) -> None:
    tight, loose = (crop_edges(box, (1000, 1000), margin_rule(f"{share}", "face")) for share in (0, margin))
    side = tight[2] - tight[0]
    assert tight[0] - loose[0] == pytest.approx(margin * side, abs=2)
    assert loose[3] - tight[3] == pytest.approx(margin * side, abs=2)


def test_offsets_move_the_crop_right_and_down() -> None:
    edges = crop_edges((0.5, 0.5, 0.2, 0.2), (100, 100), margin_rule("0,0.5,-0.25", "face"))
    assert edges == (50, 35, 70, 55)


@given(sizes, st.tuples(*[st.integers(-300, 600)] * 2), st.tuples(*[st.integers(1, 300)] * 2))
def test_outside_the_picture_its_border_goes_on(
    size: tuple[int, int], corner: tuple[int, int], sides: tuple[int, int]
) -> None:
    (height, width), (left, top), (wide, tall) = size, corner, sides
    picture = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    crop = cut(picture, (left, top, left + wide, top + tall))
    rows = np.clip(np.arange(top, top + tall), 0, height - 1)
    columns = np.clip(np.arange(left, left + wide), 0, width - 1)
    np.testing.assert_array_equal(crop, picture[rows][:, columns])


@pytest.mark.parametrize("text", ["0.2", "-0.118,-0.009,0.081", "0", "1.5,1,-1"])
def test_a_margin_survives_being_shown(text: str) -> None:
    rule = margin_rule(text, "face")
    assert margin_rule(margin_text(rule), "face") == rule
    assert rule.detector == "face"


def test_the_default_margin() -> None:
    assert margin_rule(None, "face") == margin_rule(f"{DEFAULT_MARGIN}", "face")


@pytest.mark.parametrize("text", ["", "wide", "0.2,0.1", "nan", "inf", "-0.5", "1.6", "0,2,0", "0,0,nan", "1,2,3,4"])
def test_margins_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--margin: must be a share in -0\.4\.\.1\.5"):
        margin_rule(text, "face")


def bright_box(picture: Image) -> np.ndarray:
    """A detector of the bright part of a picture."""
    rows, columns = np.nonzero(picture.mean(axis=2) > 128)
    if not len(rows):
        return np.empty((0, 5))
    (top, bottom), (left, right) = (np.quantile(values, (0, 1)) for values in (rows, columns))
    height, width = picture.shape[:2]
    box = ((left + right + 1) / 2 / width, (top + bottom + 1) / 2 / height)
    return np.array([[1.0, *box, (right + 1 - left) / width, (bottom + 1 - top) / height]])


@pytest.mark.parametrize(("margin", "right", "down"), [(0.2, 0, 0), (0.5, 0.1, -0.2), (0.05, 0.02, 0.02)])
def test_measured_is_how_it_was_cut(margin: float, right: float, down: float) -> None:
    """Crops around a bright square are measured by a detector that finds it."""
    picture = np.zeros((300, 400, 3), np.uint8)
    picture[120:180, 160:220] = 255
    rule = margin_rule(f"{margin},{right},{down}", "bright")
    crop = cut(picture, crop_edges((190 / 400, 150 / 300, 60 / 400, 60 / 300), (300, 400), rule))
    measured = measure([crop] * MIN_FOUND, bright_box, "bright")
    assert (measured.looked, measured.found, measured.spread) == (MIN_FOUND, MIN_FOUND, 0.0)
    assert measured.rule is not None
    assert measured.rule.scale == pytest.approx(rule.scale, abs=0.05)
    assert measured.rule.offset_x == pytest.approx(right, abs=0.03)
    assert measured.rule.offset_y == pytest.approx(down, abs=0.03)
    assert measured.rule.detector == "bright"


def test_too_few_finds_measure_nothing() -> None:
    crops = [np.full((8, 8, 3), shade, np.uint8) for shade in (0, 255, 0)]
    measured = measure(crops, bright_box, "bright")
    assert (measured.looked, measured.found, measured.rule) == (3, 1, None)
