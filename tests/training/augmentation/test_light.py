"""What augmentation may change of light and colour, and what it must not."""

from __future__ import annotations

import colorsys
import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from whc.models.color import LUMA_WEIGHTS
from whc.training.augmentation import Augmentation, augment, even_out, light
from whc.training.augmentation.light import CLAHE_CLIP, CLAHE_TILES

YIQ = np.array([LUMA_WEIGHTS, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
DULL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def pictures(count: int = 4, frames: int = 1, size: tuple[int, int] = (12, 10)) -> Tensor:
    return torch.rand(count, 3 * frames, *size, generator=torch.Generator().manual_seed(0))


def changed_by(images: Tensor, step: str, **settings: float) -> Tensor:
    """Pictures after a step alone, which is always taken."""
    never = {"flip": 0.0, "affine": 0.0, "photometric": 0.0, "clahe": 0.0}
    return augment(images, Augmentation(**never | {step: 1.0} | settings), torch.Generator().manual_seed(0))[0]


def lit(images: Tensor, *drawn: float) -> Tensor:
    return light(images, np.array(drawn, np.float32)[:, None].repeat(len(images), 1))


def luma(images: Tensor) -> Tensor:
    """(N, T, H, W)."""
    return (images.unflatten(1, (-1, 3)) * torch.tensor(LUMA_WEIGHTS).view(3, 1, 1)).sum(2)


def chroma(images: Tensor) -> NDArray[np.complex128]:
    """I + jQ of the first pixel of each of (N, 3, H, W)."""
    _, i, q = YIQ @ images[:, :, 0, 0].double().numpy().T
    return np.asarray(i + 1j * q)


fraction = st.floats(-0.3, 0.3)


@given(fraction, fraction, fraction, st.floats(-math.pi, math.pi), st.integers(1, 3))
def test_light_is_the_formula(brightness: float, contrast: float, saturation: float, hue: float, frames: int) -> None:
    """Step by step, in YIQ, in double precision."""
    images = pictures(2, frames, (6, 5)) * 0.3 + 0.35
    rgb = images.unflatten(1, (-1, 3)).double().numpy()
    inside = np.einsum("ij,ntjhw->nithw", YIQ, rgb)
    y, color = inside[:, 0], (inside[:, 1] + 1j * inside[:, 2]) * np.exp(1j * hue) * (1 + saturation)
    mean = rgb.mean((1, 2, 3, 4))[:, None, None, None]
    y, color = mean + (y - mean) * (1 + contrast) + brightness, color * (1 + contrast)
    expected = np.einsum("ij,njthw->ntihw", np.linalg.inv(YIQ), np.stack([y, color.real, color.imag], 1))
    changed = lit(images, brightness, contrast, saturation, hue).unflatten(1, (-1, 3)).numpy()
    np.testing.assert_allclose(changed, expected.clip(0, 1), atol=2e-6)


@given(fraction, fraction, fraction, st.floats(-math.pi, math.pi))
def test_light_keeps_grey_grey(brightness: float, contrast: float, saturation: float, hue: float) -> None:
    grey = luma(pictures(2, 2)).repeat_interleave(3, 1)
    changed = lit(grey, brightness, contrast, saturation, hue).unflatten(1, (-1, 3))
    torch.testing.assert_close(changed, changed[:, :, :1].expand_as(changed), rtol=0, atol=2e-6)


@given(fraction, fraction, st.floats(-math.pi, math.pi))
def test_color_keeps_luma_and_contrast_keeps_the_mean(contrast: float, saturation: float, hue: float) -> None:
    images = pictures(2, 2) * 0.1 + 0.45
    torch.testing.assert_close(luma(lit(images, 0, 0, saturation, hue)), luma(images), rtol=0, atol=2e-6)
    steeper = lit(images, 0, contrast, 0, 0)
    torch.testing.assert_close(steeper.mean((1, 2, 3)), images.mean((1, 2, 3)), rtol=0, atol=2e-6)


def test_no_change_of_light_is_none_at_all() -> None:
    images = pictures(5, 2)
    assert torch.equal(lit(images, 0, 0, 0, 0), images)


def test_hue_turns_as_television_does() -> None:
    """Against the standard library's YIQ, whose numbers differ a little."""
    color = (0.6, 0.45, 0.4)
    images = torch.tensor(color).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    (y, i, q), (new_y, new_i, new_q) = (
        colorsys.rgb_to_yiq(*picture[0, :, 0, 0].tolist()) for picture in (images, lit(images, 0, 0, 0, math.pi / 3))
    )
    turned = np.angle((new_i + 1j * new_q) / (i + 1j * q))
    assert new_y == pytest.approx(y, abs=0.003)
    assert float(turned) == pytest.approx(math.pi / 3, abs=0.05)


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_two_turns_of_the_hue_are_one(first: float, second: float) -> None:
    images = pictures() * 0.1 + 0.45
    once = lit(images, 0, 0, 0, first + second)
    torch.testing.assert_close(lit(lit(images, 0, 0, 0, first), 0, 0, 0, second), once, rtol=0, atol=3e-6)


def test_contrast_is_about_the_whole_window() -> None:
    """One straight line for all pixels of all frames: a dark frame before a bright one stays as much darker."""
    frames = torch.rand(8, 2, 1, 6, 6).mul(0.2) + torch.tensor([0.2, 0.6]).view(1, 2, 1, 1, 1)
    images = frames.expand(8, 2, 3, 6, 6).flatten(1, 2)
    changed = changed_by(images, "photometric", brightness=0.05, contrast=0.1)
    for before, after in zip(images.flatten(1), changed.flatten(1), strict=True):
        slope = (after[-1] - after[0]) / (before[-1] - before[0])
        torch.testing.assert_close(after, after[0] + slope * (before - before[0]), atol=1e-5, rtol=1e-5)


def test_the_photometric_step_goes_as_far_as_asked_and_no_further() -> None:
    images = (pictures(1) * 0.2 + 0.4).repeat(500, 1, 1, 1)

    def changed(**settings: float) -> Tensor:
        return changed_by(images, "photometric", **DULL | settings)

    brighter = (changed(brightness=0.1) - images).mean((1, 2, 3))
    assert (brighter.min().item(), brighter.max().item()) == pytest.approx((-0.1, 0.1), abs=0.001)
    steeper = changed(contrast=0.2).flatten(1).std(1) / images.flatten(1).std(1)
    assert (steeper.min().item(), steeper.max().item()) == pytest.approx((0.8, 1.2), abs=0.005)
    stronger = np.abs(chroma(changed(saturation=0.3)) / chroma(images))
    assert (stronger.min(), stronger.max()) == pytest.approx((0.7, 1.3), abs=0.005)
    turned = np.angle(chroma(changed(hue=0.1)) / chroma(images)) / math.tau
    assert (turned.min(), turned.max()) == pytest.approx((-0.1, 0.1), abs=0.001)


# CLAHE


def equalized(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.createCLAHE(CLAHE_CLIP, CLAHE_TILES).apply(levels)


@pytest.mark.parametrize("size", [(32, 32), (21, 30)])
def test_clahe_of_grey_is_opencv_s(size: tuple[int, int]) -> None:
    levels = np.random.default_rng(0).integers(60, 120, (3, 2, *size), np.uint8)
    images = torch.from_numpy(levels / np.float32(255)).repeat_interleave(3, 1)
    changed = changed_by(images, "clahe").unflatten(1, (2, 3)).numpy()
    expected = np.stack([[equalized(frame) for frame in window] for window in levels])
    assert (expected != levels).mean() > 0.5
    for channel in range(3):
        np.testing.assert_array_equal(np.rint(changed[:, :, channel] * 255), expected)


def test_clahe_changes_luma_and_leaves_color() -> None:
    images = pictures(2, 2, (16, 16)) * 0.1 + 0.45
    changed = even_out(images)
    levels = np.rint(luma(images).numpy() * 255).astype(np.uint8)
    expected = np.stack([[equalized(frame) for frame in window] for window in levels])
    is_unclipped = ((changed > 0) & (changed < 1)).unflatten(1, (2, 3)).all(2)
    assert is_unclipped.float().mean() > 0.5
    np.testing.assert_allclose(luma(changed)[is_unclipped] * 255, expected[is_unclipped.numpy()], atol=1e-3)
    before, after = (each.unflatten(1, (2, 3)) for each in (images, changed))
    torch.testing.assert_close(
        (after[:, :, 0] - after[:, :, 2])[is_unclipped], (before[:, :, 0] - before[:, :, 2])[is_unclipped]
    )


def test_value_multiplies_and_hue_and_saturation_keep_luma() -> None:
    images = pictures(64) * 0.5
    luma = torch.tensor(LUMA_WEIGHTS)[:, None, None]
    changed = changed_by(images, "hsv", hsv_hue=0.0, hsv_saturation=0.0, hsv_value=0.4)
    factors = changed.flatten(1).sum(1) / images.flatten(1).sum(1)
    assert 0.6 <= factors.min() < 0.7
    assert 1.3 < factors.max() <= 1.4
    torch.testing.assert_close(changed, images * factors[:, None, None, None])
    dull = images * 0.05 + 0.4  # so that nothing is clipped
    changed = changed_by(dull, "hsv", hsv_hue=0.2, hsv_saturation=0.7, hsv_value=0.0)
    torch.testing.assert_close((changed * luma).sum(1), (dull * luma).sum(1))
