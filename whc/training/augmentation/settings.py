"""What may happen to a training sample."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from whc.config import Settings

Outside = Literal["repeat", "reflect", "gray"]

COMPOSING_STEPS = ("mosaic", "mixup", "copy_paste")  # these need a task whose targets can be put together


class Augmentation(Settings):
    """What a training sample may go through.

    These are probabilities of steps: `flip`, `vertical_flip`, `crop`, `affine`, `photometric`, `hsv`, `gray`,
    `channel_order`, `clahe`, `mosaic`, `mixup`, `copy_paste`, `blur`, `median_blur`, `motion_blur`, `noise`,
    `jpeg`. The others are their strengths.

    `crop` enlarges a part of the picture to the whole: `crop_area` is its least share of the area, `crop_stretch`
    how much wider or higher it may become. Of `affine`, `shift` is a fraction of the side, `scale` of the size,
    `rotation_degrees` goes both ways; `outside` is what it shows beyond the border: the border repeated, the
    picture reflected, or grey. Of `photometric`, `brightness`, `contrast` and `saturation` are fractions of full
    range, `hue` is a fraction of a whole turn; so are those of `hsv`, whose value is a factor of all three colours.
    `clahe` evens out contrast from place to place, with OpenCV. `mosaic` puts four pictures of the batch into one:
    for the share `mosaic_whole` they are whole, at half their size, for the rest they are cut, at their own size.
    `mixup` blends two pictures equally. `copy_paste` puts up to `paste_count` objects of another picture on top,
    made larger or smaller by up to `paste_scale`. `blur_sigma`, `median_size` (an odd number) and
    `motion_blur_length` are in pixels, `noise_sigma` is a fraction of full range, all four the largest;
    `jpeg_quality` is the least.
    """

    flip: float = Field(0.5, ge=0, le=1)
    vertical_flip: float = Field(0.0, ge=0, le=1)
    crop: float = Field(0.0, ge=0, le=1)
    crop_area: float = Field(0.6, gt=0, le=1)
    crop_stretch: float = Field(4 / 3, ge=1, le=4)
    affine: float = Field(0.5, ge=0, le=1)
    shift: float = Field(0.05, ge=0, le=0.5)
    scale: float = Field(0.1, ge=0, lt=1)
    rotation_degrees: float = Field(10.0, ge=0, le=180)
    outside: Outside = "repeat"
    photometric: float = Field(0.5, ge=0, le=1)
    brightness: float = Field(0.15, ge=0, le=1)
    contrast: float = Field(0.2, ge=0, lt=1)
    saturation: float = Field(0.2, ge=0, le=1)
    hue: float = Field(0.0, ge=0, le=0.5)
    hsv: float = Field(0.0, ge=0, le=1)
    hsv_hue: float = Field(0.015, ge=0, le=0.5)
    hsv_saturation: float = Field(0.7, ge=0, le=1)
    hsv_value: float = Field(0.4, ge=0, lt=1)
    gray: float = Field(0.0, ge=0, le=1)
    channel_order: float = Field(0.0, ge=0, le=1)
    clahe: float = Field(0.0, ge=0, le=1)
    mosaic: float = Field(0.0, ge=0, le=1)
    mosaic_whole: float = Field(0.5, ge=0, le=1)
    mixup: float = Field(0.0, ge=0, le=1)
    copy_paste: float = Field(0.0, ge=0, le=1)
    paste_count: int = Field(2, ge=1, le=10)
    paste_scale: float = Field(0.2, ge=0, lt=1)
    blur: float = Field(0.0, ge=0, le=1)
    blur_sigma: float = Field(1.5, gt=0, le=20)
    median_blur: float = Field(0.0, ge=0, le=1)
    median_size: int = Field(5, ge=3, le=15)
    motion_blur: float = Field(0.0, ge=0, le=1)
    motion_blur_length: float = Field(7.0, ge=2, le=50)
    noise: float = Field(0.0, ge=0, le=1)
    noise_sigma: float = Field(0.05, gt=0, le=1)
    jpeg: float = Field(0.0, ge=0, le=1)
    jpeg_quality: int = Field(40, ge=1, le=100)

    @property
    def composing(self) -> tuple[str, ...]:
        """The steps that put several pictures into one, if any is on."""
        return tuple(name for name in COMPOSING_STEPS if getattr(self, name))
