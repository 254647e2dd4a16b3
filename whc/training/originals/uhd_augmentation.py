"""The augmentation file of UHD (`aug.yaml`) as settings of ours, and what of it whc does otherwise or not at all.

It lists operations by name, each with its probability `prob` and its strengths: under `data_augment`, or under
`data_augment_pre` and `data_augment_post` in its later versions, or at the top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, create_model

from whc.config import Settings, validate
from whc.errors import UsageError, problem

Range = tuple[float, float]
Values = dict[str, Any]

LISTS = ("data_augment", "data_augment_pre", "data_augment_post")
SWAPS, OUTLIERS = "class_swap_map", "RemoveOutliers"
SMALLER_IS_STRONGER = ("crop_area", "jpeg_quality")
MAX_PASTES, MAX_SCALE, MAX_SHIFT = 10, 0.99, 0.5  # ours
CLAHE_CLIP = 4
# What our steps do until the file asks for more; all others are off.
NOTHING: Values = dict.fromkeys(
    ("flip", "affine", "shift", "scale", "rotation_degrees", "photometric", "brightness", "contrast", "saturation"), 0.0
) | {"outside": "gray"}


class _Operation(Settings):
    """An operation of the file, with the defaults of its parameters."""

    prob: float = Field(0.0, ge=0, le=1)

    def ours(self) -> Values:
        """Our settings for it."""
        return {}

    def remark(self) -> str:
        """What is done otherwise, in words; empty if nothing is."""
        return ""


class _HorizontalFlip(_Operation):
    class_swap_map: dict[int, int] = {}

    def ours(self) -> Values:
        return {"flip": self.prob}


class _VerticalFlip(_HorizontalFlip):
    def ours(self) -> Values:
        return {"vertical_flip": self.prob}


class _RandomScale(_Operation):
    scale_range: Range = (1, 1)
    keep_aspect_ratio: bool = True
    fill: int = 114

    def ours(self) -> Values:
        return {"affine": self.prob, "scale": min(_reach(self.scale_range), MAX_SCALE)}

    def remark(self) -> str:
        low, high = self.scale_range
        reach = self.ours()["scale"]
        return "" if math.isclose(low + high, 2) else f"sizes are drawn from {1 - reach:g} to {1 + reach:g}"


class _Translation(_Operation):
    translate: float | Range = 0
    fill: int = 114

    def ours(self) -> Values:
        both = self.translate if isinstance(self.translate, tuple) else (self.translate,)
        return {"affine": self.prob, "shift": min(max(map(abs, both)), MAX_SHIFT)}


class _RandomCrop(_Operation):
    prob: float = Field(1.0, ge=0, le=1)
    ratio: float = Field(0.9, gt=0, le=1)
    aspect_ratio: float | None = None
    min_boxes: int = 1
    max_retries: int = 10
    allow_empty: bool = False
    deterministic: bool = False

    def ours(self) -> Values:
        if self.aspect_ratio:
            return {"crop": self.prob, "crop_area": 0.6, "crop_stretch": 4 / 3}
        return {"crop": self.prob, "crop_area": self.ratio, "crop_stretch": 1.0}

    def remark(self) -> str:
        if self.aspect_ratio:
            return "pictures have the input's shape here; parts from 0.6 of the area, stretched up to 4/3, are taken"
        return f"parts of any area from {self.ratio:g} are taken"


class _RandomResizedCrop(_Operation):
    scale: Range = (0.6, 1)
    ratio: Range = (0.75, 4 / 3)
    min_visibility: float = 0.25
    max_tries: int = 10

    def ours(self) -> Values:
        stretch = max(*self.ratio, *(1 / max(ratio, 0.01) for ratio in self.ratio))
        return {"crop": self.prob, "crop_area": self.scale[0], "crop_stretch": min(stretch, 4)}


class _Mosaic(_Operation):
    prob: float = Field(1.0, ge=0, le=1)

    def ours(self) -> Values:
        return {"mosaic": self.prob, "mosaic_whole": 0.0}


class _MixUp(_Operation):
    prob: float = Field(1.0, ge=0, le=1)

    def ours(self) -> Values:
        return {"mixup": self.prob}


class _CopyPaste(_Operation):
    prob: float = Field(0.3, ge=0, le=1)
    sample_num: int = 1
    max_paste_objects: int = 5
    scale_jitter: Range = (0.8, 1.2)

    def ours(self) -> Values:
        count = min(self.max_paste_objects, MAX_PASTES)
        return {"copy_paste": self.prob, "paste_count": count, "paste_scale": min(_reach(self.scale_jitter), MAX_SCALE)}


class _RandomHSV(_Operation):
    hue_gain: float = 0
    saturation_gain: float = 0
    value_gain: float = 0

    def ours(self) -> Values:
        gains = {"hsv_hue": self.hue_gain, "hsv_saturation": self.saturation_gain, "hsv_value": self.value_gain}
        return {"hsv": self.prob, **gains}


class _RandomPhotometricDistort(_Operation):
    prob: float = Field(0.5, ge=0, le=1)
    brightness: Range = (0.875, 1.125)
    contrast: Range = (0.5, 1.5)
    saturation: Range = (0.5, 1.5)
    hue: Range = (-0.05, 0.05)

    def ours(self) -> Values:
        factors = {"brightness": self.brightness, "contrast": self.contrast, "saturation": self.saturation}
        reaches = {name: _reach(pair) for name, pair in factors.items()}
        return {"photometric": self.prob, **reaches, "hue": max(map(abs, self.hue)), "channel_order": self.prob}


class _Factor(_Operation):
    factor_range: Range = (0.8, 1.2)


class _RandomBrightness(_Factor):
    def ours(self) -> Values:
        return {"photometric": self.prob, "brightness": _reach(self.factor_range)}


class _RandomContrast(_Factor):
    def ours(self) -> Values:
        return {"photometric": self.prob, "contrast": _reach(self.factor_range)}


class _RandomSaturation(_Factor):
    def ours(self) -> Values:
        return {"photometric": self.prob, "saturation": _reach(self.factor_range)}


class _Blur(_Operation):
    blur_limit: tuple[int, int] = (3, 7)

    def ours(self) -> Values:
        # The deviation of a mean over that many pixels.
        return {"blur": self.prob, "blur_sigma": math.sqrt((self.blur_limit[1] ** 2 - 1) / 12)}

    def remark(self) -> str:
        return "a Gaussian blur of the same width takes its place"


class _GaussianBlur(_Operation):
    blur_limit: tuple[int, int] = (3, 7)
    sigma_limit: Range = (0.1, 2)

    def ours(self) -> Values:
        return {"blur": self.prob, "blur_sigma": self.sigma_limit[1]}


class _MedianBlur(_Operation):
    blur_limit: tuple[int, int] = (3, 7)

    def ours(self) -> Values:
        return {"median_blur": self.prob, "median_size": self.blur_limit[1]}


class _MotionBlur(_Operation):
    blur_limit: tuple[int, int] = (5, 15)
    angle: Range = (0, 180)

    def ours(self) -> Values:
        return {"motion_blur": self.prob, "motion_blur_length": float(self.blur_limit[1])}


class _GaussNoise(_Operation):
    mean: float = 0
    var_limit: Range = (10, 50)

    def ours(self) -> Values:
        return {"noise": self.prob, "noise_sigma": self.var_limit[1] / 255}


class _ImageCompression(_Operation):
    quality_range: tuple[int, int] = (40, 90)

    def ours(self) -> Values:
        return {"jpeg": self.prob, "jpeg_quality": self.quality_range[0]}


class _Clahe(_Operation):
    clip_limit: float = 2
    tile_grid_size: tuple[int, int] = (8, 8)

    def ours(self) -> Values:
        return {"clahe": self.prob}

    def remark(self) -> str:
        return "" if self.clip_limit == CLAHE_CLIP else f"its clip_limit is {CLAHE_CLIP} here"


class _ToGray(_Operation):
    def ours(self) -> Values:
        return {"gray": self.prob}


class _LeftOut(_Operation):
    def remark(self) -> str:
        return "left out, as whc has no such operation"


class _ISONoise(_LeftOut):
    intensity: Range = (0.05, 0.15)
    color_shift: Range = (0.01, 0.05)


class _RandomRain(_LeftOut):
    density: Range = (0.002, 0.006)
    drop_length: tuple[int, int] = (15, 30)
    drop_width_range: tuple[int, int] = (1, 2)
    slant_range: Range = (-10, 10)


class _RandomFog(_LeftOut):
    fog_coef: Range = (0.3, 0.6)


class _RandomSunFlare(_LeftOut):
    src_radius_range: tuple[int, int] = (50, 150)
    src_intensity: Range = (0.6, 1)


OPERATIONS: dict[str, type[_Operation]] = {
    kind.__name__.lstrip("_"): kind
    for kind in (
        _HorizontalFlip, _VerticalFlip, _RandomScale, _Translation, _RandomCrop, _RandomResizedCrop, _Mosaic, _MixUp,
        _CopyPaste, _RandomHSV, _RandomPhotometricDistort, _RandomBrightness, _RandomContrast, _RandomSaturation, _Blur,
        _GaussianBlur, _MedianBlur, _MotionBlur, _GaussNoise, _ImageCompression, _ToGray, _ISONoise, _RandomRain,
        _RandomFog, _RandomSunFlare,
    )
} | {"CLAHE": _Clahe}  # fmt: skip
_FIELDS: dict[str, Any] = {name: (kind, kind()) for name, kind in OPERATIONS.items()}
_FIELDS |= {OUTLIERS: (float, Field(0.0, ge=0, lt=1)), SWAPS: (dict[int, int], {})}
_File = create_model("_File", __base__=Settings, **_FIELDS)


@dataclass(frozen=True)
class Translated:
    """`augmentation` as `Augmentation` takes it, `task` as the task's parameters do, and what is done otherwise."""

    augmentation: Values
    task: Values
    remarks: tuple[str, ...]


def is_original(content: Mapping[str, Any]) -> bool:
    """Whether a file is one of theirs."""
    return not content.keys().isdisjoint({*LISTS, *_FIELDS})


def translate(content: Mapping[str, Any], source: str) -> Translated:
    """Settings of ours for the content of one of their files.

    Args:
        content: of the file.
        source: its path, for messages.

    Raises:
        UsageError: a name is unknown, or a value is impossible.
    """
    values, remarks, swaps, least_area = dict(NOTHING), list[str](), dict[int, int](), 0.0
    for place, listed in _lists(content, source):
        file = validate(_File, listed, place)
        swaps |= getattr(file, SWAPS)
        least_area = max(least_area, getattr(file, OUTLIERS))
        for name in listed:
            operation = getattr(file, name)
            if isinstance(operation, _Operation) and operation.prob:
                swaps |= getattr(operation, SWAPS, {})
                remarks += [
                    f"{name}: {remark}" for remark in (*_merge(values, operation), operation.remark()) if remark
                ]
    task: Values = {"flip_swaps": {str(old): str(new) for old, new in swaps.items()}} if swaps else {}
    return Translated(values, task | ({"min_area": least_area} if least_area else {}), tuple(remarks))


def _lists(content: Mapping[str, Any], source: str) -> list[tuple[str, Values]]:
    """Each list of operations as a mapping, with its place for messages."""
    top = {name: value for name, value in content.items() if name not in LISTS}
    lists = [(source, top), *((f"{source}: {name}", content[name]) for name in LISTS if name in content)]
    return [(place, _as_mapping(listed, place)) for place, listed in lists]


def _as_mapping(listed: object, place: str) -> Values:
    """Operations by name; a list of mappings of one name is one, and a name alone has the default parameters."""
    parts = listed if isinstance(listed, list) else [listed or {}]
    named: Values = {}
    for part in parts:
        if not isinstance(part, Mapping):
            raise UsageError(
                problem(place, "must be a mapping of operations", part, "write `HorizontalFlip: {prob: 0.5}`")
            )
        named |= {str(name): {} if value is None else value for name, value in part.items()}
    return named


def _merge(values: Values, operation: _Operation) -> tuple[str, ...]:
    """Add an operation to our settings; where others share a step, the stronger of both holds, and is told."""
    ours = operation.ours()
    shared = [name for name, value in ours.items() if value == operation.prob and values.get(name, 0) not in (0, value)]
    for name, value in ours.items():
        stronger = min if name in SMALLER_IS_STRONGER else max
        values[name] = stronger(values[name], value) if name in values else value
    return tuple(f"shares the probability of {name}, {values[name]:g}" for name in shared[:1])


def _reach(factors: Range) -> float:
    """How far factors go from 1."""
    return max(abs(factor - 1) for factor in factors)
