"""Colour spaces inside the network."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from whc.models.color import LUMA_WEIGHTS, Color, conversion


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("color", get_args(Color))
def test_shape(color: Color, frames: int) -> None:
    convert, channels = conversion(color, frames)
    assert convert(torch.rand(2, 3 * frames, 6, 5)).shape == (2, channels, 6, 5)


def test_rgb_is_left_alone() -> None:
    images = torch.rand(2, 6, 4, 4)
    assert torch.equal(conversion("rgb", 2)[0](images), images)


@pytest.mark.parametrize("frames", [1, 4])
def test_luma_of_each_frame(frames: int) -> None:
    images = torch.rand(3, frames * 3, 5, 7)
    red, green, blue = images.view(3, frames, 3, 5, 7).unbind(2)
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    torch.testing.assert_close(conversion("luma", frames)[0](images), expected)


def test_luma_keeps_the_range() -> None:
    assert sum(LUMA_WEIGHTS) == pytest.approx(1)
    convert, _ = conversion("luma", 1)
    assert convert(torch.ones(1, 3, 2, 2)).max() == pytest.approx(1)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(
    ("color", "rgb", "expected"),
    [
        # From the definition, in double precision; the primaries agree with published tables to two decimals.
        ("lab", (1, 1, 1), (100, 0, 0)),
        ("lab", (0, 0, 0), (0, 0, 0)),
        ("lab", (1, 0, 0), (53.24, 80.09, 67.20)),
        ("lab", (0, 1, 0), (87.73, -86.18, 83.18)),
        ("lab", (0, 0, 1), (32.30, 79.19, -107.86)),
        ("lab", (0.5, 0.5, 0.5), (53.39, 0, 0)),
        ("lab", (0.03, 0.03, 0.03), (2.10, 0, 0)),  # on both lines, of sRGB and of CIE
        ("luv", (1, 1, 1), (100, 0, 0)),
        ("luv", (0, 0, 0), (0, 0, 0)),
        ("luv", (1, 0, 0), (53.24, 175.01, 37.76)),
        ("luv", (0, 1, 0), (87.73, -83.08, 107.40)),
        ("luv", (0, 0, 1), (32.30, -9.40, -130.34)),
        ("luv", (0.03, 0.03, 0.03), (2.10, 0, 0)),
    ],
)
def test_cie(color: Color, rgb: tuple[float, ...], expected: tuple[float, ...], frames: int) -> None:
    """Each frame on its own, channels in order."""
    images = torch.rand(2, frames, 3, 4, 5)
    images[1, -1] = torch.tensor(rgb).view(3, 1, 1)
    converted = conversion(color, frames)[0](images.flatten(1, 2)).unflatten(1, (frames, 3))
    for value, channel in zip(expected, converted[1, -1], strict=True):
        assert channel == pytest.approx(torch.full((4, 5), value), abs=0.01)
    torch.testing.assert_close(converted[0, 0], conversion(color, 1)[0](images[:1, 0])[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("color", get_args(Color))
def test_gradients_reach_the_image_even_where_it_is_black(color: Color) -> None:
    images = torch.zeros(1, 3, 2, 2, requires_grad=True)
    conversion(color, 1)[0](images).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("color", get_args(Color))
def test_nothing_to_learn_or_to_save(color: Color) -> None:
    convert: nn.Module = conversion(color, 2)[0]
    assert not list(convert.parameters())
    assert not convert.state_dict()
