"""UHD's `aug.yaml` becomes settings of ours; what does not is told, and what is misspelt is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whc.config import load_yaml
from whc.errors import UsageError
from whc.training.augmentation import Augmentation
from whc.training.originals import uhd_augmentation
from whc.training.originals.uhd_augmentation import OPERATIONS, translate

# The values that its first and its newest version ship.
SHIPPED = """
data_augment:
  RandomPhotometricDistort: {prob: 0.5}
  RandomHSV: {prob: 0.75, hue_gain: 0.015, saturation_gain: 0.7, value_gain: 0.4}
  HorizontalFlip: {prob: 0.5}
  CLAHE: {prob: 0.01, clip_limit: 4.0, tile_grid_size: [8, 8]}
  ToGray: {prob: 0.01}
  RemoveOutliers: 1.0e-8
  class_swap_map: {0: 1, 1: 0}
"""
NEWEST = """
data_augment_pre:
  HorizontalFlip: {prob: 0.5, class_swap_map: {1: 2}}
  RandomCrop: {prob: 0.5, ratio: 1.0, aspect_ratio: 1.0}
data_augment_post:
  RandomPhotometricDistort: {prob: 0.5}
  RandomHSV: {prob: 0.5, hue_gain: 0.015, saturation_gain: 0.7, value_gain: 0.4}
  CLAHE: {prob: 0.01, clip_limit: 4.0}
  RemoveOutliers: 0.000244140625
"""
DISTORT = {"photometric": 0.5, "brightness": 0.125, "contrast": 0.5, "saturation": 0.5, "hue": 0.05}
DISTORT |= {"channel_order": 0.5}
HSV = {"hsv_hue": 0.015, "hsv_saturation": 0.7, "hsv_value": 0.4}
OFF = {"affine": 0.0, "shift": 0.0, "scale": 0.0, "rotation_degrees": 0.0, "outside": "gray"}


def read(tmp_path: Path, text: str) -> uhd_augmentation.Translated:
    path = tmp_path / "aug.yaml"
    path.write_text(text, encoding="utf-8")
    content = load_yaml(path)
    assert uhd_augmentation.is_original(content)
    translated = translate(content, str(path))
    Augmentation.model_validate(translated.augmentation)
    return translated


def test_the_shipped_file(tmp_path: Path) -> None:
    translated = read(tmp_path, SHIPPED)
    expected = OFF | DISTORT | HSV | {"hsv": 0.75, "flip": 0.5, "clahe": 0.01, "gray": 0.01}
    assert translated.augmentation == expected
    assert translated.task == {"flip_swaps": {"0": "1", "1": "0"}, "min_area": 1e-8}
    assert translated.remarks == ()


def test_the_newest_shipped_file(tmp_path: Path) -> None:
    translated = read(tmp_path, NEWEST)
    crop = {"crop": 0.5, "crop_area": 0.6, "crop_stretch": 4 / 3}
    assert translated.augmentation == OFF | DISTORT | HSV | {"hsv": 0.5, "flip": 0.5, "clahe": 0.01} | crop
    assert translated.task == {"flip_swaps": {"1": "2"}, "min_area": 1 / 64**2}
    assert [remark.partition(":")[0] for remark in translated.remarks] == ["RandomCrop"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_translated_or_told(name: str) -> None:
    off = translate({"data_augment": {}}, "aug.yaml").augmentation
    translated = translate({"data_augment": {name: {"prob": 0.25}}}, "aug.yaml")
    settings = Augmentation.model_validate(translated.augmentation)
    changed = {key for key, value in settings.model_dump().items() if value == 0.25}
    assert changed or "left out" in translated.remarks[0]
    assert translated.augmentation != off or translated.remarks
    assert translate({"data_augment": {name: {"prob": 0.0}}}, "aug.yaml").augmentation == off


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ({"Mosaic": None}, {"mosaic": 1.0, "mosaic_whole": 0.0}),
        ([{"MixUp": {}}, {"ToGray": {"prob": 0.1}}], {"mixup": 1.0, "gray": 0.1}),
        ({"CopyPaste": {}}, {"copy_paste": 0.3, "paste_count": 5, "paste_scale": pytest.approx(0.2)}),
        ({"RandomScale": {"prob": 0.5, "scale_range": [0.5, 1.5]}}, {"affine": 0.5, "scale": 0.5}),
        ({"Translation": {"prob": 1, "translate": 0.1}}, {"affine": 1.0, "shift": 0.1}),
        ({"ImageCompression": {"prob": 0.2}}, {"jpeg": 0.2, "jpeg_quality": 40}),
        ({"GaussNoise": {"prob": 0.2}}, {"noise": 0.2, "noise_sigma": pytest.approx(50 / 255)}),
        ({"RandomResizedCrop": {"prob": 0.2, "scale": [0.5, 1]}}, {"crop": 0.2, "crop_area": 0.5}),
    ],
)
def test_forms_and_defaults(listed: Any, expected: dict[str, Any]) -> None:
    translated = translate({"data_augment": listed}, "aug.yaml")
    assert translated.augmentation.items() >= expected.items()
    assert translate(listed, "aug.yaml") == translated if isinstance(listed, dict) else True


def test_what_is_done_otherwise_is_told() -> None:
    listed = {
        "RandomRain": {"prob": 0.1},
        "RandomScale": {"prob": 0.5, "scale_range": [0.9, 1.4]},
        "Translation": {"prob": 0.2, "translate": 0.1},
    }
    translated = translate({"data_augment": listed}, "aug.yaml")
    assert translated.remarks == (
        "RandomRain: left out, as whc has no such operation",
        "RandomScale: sizes are drawn from 0.6 to 1.4",
        "Translation: shares the probability of affine, 0.5",
    )
    assert translated.augmentation["scale"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            {"data_augment": {"HorizontalFlp": {}}},
            "data_augment: HorizontalFlp: unknown key; did you mean 'HorizontalFlip'?",
        ),
        ({"data_augment": {"RandomHSV": {"hue_gian": 1}}}, "RandomHSV.hue_gian: unknown key; did you mean 'hue_gain'?"),
        ({"data_augment": {"ToGray": {"prob": 2}}}, "data_augment: ToGray.prob: "),
        ({"data_augment": ["ToGray"]}, "data_augment: must be a mapping of operations, got 'ToGray'"),
        ({"data_augment": {}, "seed": 1}, "aug.yaml: seed: unknown key"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(content: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        translate(content, "aug.yaml")
    assert str(refused.value).startswith("aug.yaml: ")
    assert told in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_ours_is_not_the_original_s() -> None:
    assert not uhd_augmentation.is_original({"flip": 0.5, "mosaic": 0.2})
