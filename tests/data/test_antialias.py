"""Pillow's bilinear filter without Pillow, against Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from whc.data import antialias

SIDES = st.integers(1, 120)


def noise(height: int, width: int, seed: int, is_hard: bool) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return np.where(noise > 127, 255, 0).astype(np.uint8) if is_hard else noise


def by_pillow(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Pillow.fromarray(picture).resize((width, height), Pillow.Resampling.BILINEAR))


@settings(max_examples=200)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 99), st.booleans())
def test_as_pillow(height: int, width: int, new_height: int, new_width: int, seed: int, is_hard: bool) -> None:
    picture = noise(height, width, seed, is_hard)
    ours, theirs = antialias.shrink(picture, new_height, new_width), by_pillow(picture, new_height, new_width)
    assert (ours.dtype, ours.shape) == (np.uint8, (new_height, new_width, 3))
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    if max(height - new_height, 0) <= max(width - new_width, 0):  # in any version, Pillow starts with the columns
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("shape", [(480, 640), (1080, 1920)])
def test_frames_of_cameras(shape: tuple[int, int]) -> None:
    picture = noise(*shape, seed=0, is_hard=False)
    np.testing.assert_array_equal(antialias.shrink(picture, 224, 224), by_pillow(picture, 224, 224))
