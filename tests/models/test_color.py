"""Colour spaces inside the network."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from whc.models.color import LUMA, Color, conversion


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
    assert sum(LUMA) == pytest.approx(1)
    convert, _ = conversion("luma", 1)
    assert convert(torch.ones(1, 3, 2, 2)).max() == pytest.approx(1)


@pytest.mark.parametrize("color", get_args(Color))
def test_nothing_to_learn_or_to_save(color: Color) -> None:
    convert: nn.Module = conversion(color, 2)[0]
    assert not list(convert.parameters())
    assert not convert.state_dict()
