"""The law of augmentation: a box holds the pixels of its object, and no more, whatever happened to the picture.

Squares of three colours, one a picture, are drawn on noise, and go through training as any picture does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from whc import tasks
from whc.data.dataset import Corpus
from whc.data.preprocess import resize
from whc.data.row_labels import RowLabels
from whc.models.assemble import ModelConfig, build
from whc.tasks.parts import Parts
from whc.training.augmentation import Augmentation, augment
from whc.training.batches import Batches
from whc.training.loop import Trainer, TrainingConfig

LABELS = ("red", "green", "blue")
HEIGHT, WIDTH = 56, 64
ROWS, BATCH = 40, 8
LEVEL = 0.28  # between background and object, of a picture that was blended with another one too
JPEG_SPOTS = 60  # pixels of a false colour that compression leaves near an object
OFF = dict.fromkeys(["flip", "affine", "photometric"], 0.0)
STRAIGHT = {"affine": 1.0, "shift": 0.3, "scale": 0.3, "rotation_degrees": 0.0}
TURNED = {"affine": 1.0, "shift": 0.1, "scale": 0.1, "rotation_degrees": 180.0}
WORSE = {"blur": 0.5, "blur_sigma": 0.7, "noise": 0.5, "noise_sigma": 0.02, "jpeg": 0.5, "jpeg_quality": 90}
COMBINED = {"mosaic": 0.5, "mixup": 0.3}

CASES = {
    "nothing": {},
    "flip": {"flip": 0.5, "vertical_flip": 0.5},
    "affine": STRAIGHT,
    "affine on grey": STRAIGHT | {"scale": 0.5, "outside": "gray"},
    "crop": {"crop": 1.0, "crop_area": 0.3, "crop_stretch": 1.5, "flip": 0.5, "vertical_flip": 0.5},
    "crop and affine": {"crop": 0.5, "vertical_flip": 0.5} | STRAIGHT,
    "mosaic": {"mosaic": 1.0},
    "mixup": {"mixup": 1.0},
    "copy_paste": {"copy_paste": 1.0, "paste_count": 1, "paste_scale": 0.4},
    "worse": {"flip": 0.5, "motion_blur": 0.3, "motion_blur_length": 2} | WORSE,
    "all that is straight": {"flip": 0.5, "crop": 0.3, "copy_paste": 0.5, "paste_count": 1} | STRAIGHT | COMBINED,
}
TURNED_CASES = {
    "turned": TURNED,
    "turned and cropped": {"flip": 0.5, "vertical_flip": 0.5, "crop": 0.5} | TURNED,
    "turned in mosaics": TURNED | COMBINED | {"copy_paste": 0.5},
    "everything": {"flip": 0.5, "crop": 0.3, "copy_paste": 0.5} | TURNED | COMBINED | WORSE,
}


@dataclass(frozen=True)
class Seen:
    """One batch as it was learnt: images (N, 3, H, W), boxes (N, K, 5), parts and the boxes (P, N, K, 5) of each."""

    images: Tensor
    boxes: Tensor
    parts: Parts
    sources: NDArray[np.float32]


def squares(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A picture of 3 times the size with one or two squares of one colour that don't meet, and its boxes (2, 5)."""
    picture = rng.integers(0, 25, (3 * HEIGHT, 3 * WIDTH, 3)).astype(np.uint8)
    boxes, color = np.full((2, 5), -1, np.float32), rng.integers(3)
    for row in range(rng.integers(1, 3)):
        side = int(rng.integers(10, 24))
        # Not at the border, which an affine step repeats beyond it.
        left = row * WIDTH // 2 + int(rng.integers(2, WIDTH // 2 - side - 1))
        top = int(rng.integers(2, HEIGHT - side - 1))
        picture[3 * top : 3 * (top + side), 3 * left : 3 * (left + side), color] = 255
        centre = (left + side / 2) / WIDTH, (top + side / 2) / HEIGHT
        boxes[row] = (*centre, side / WIDTH, side / HEIGHT, color)
    return picture, boxes


def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    pictures, boxes = zip(*(squares(rng) for _ in range(ROWS + 2)), strict=True)
    ids = np.arange(ROWS + 2)
    size, larger_size = (HEIGHT, WIDTH), (HEIGHT * 3 // 2, WIDTH * 3 // 2)
    return Corpus(
        images={size: np.stack([resize(picture, *size) for picture in pictures])},
        labelled=RowLabels(np.stack(boxes), LABELS, ids * 0, ("all",)),
        needs_every_stratum=False,
        splits=(ids >= ROWS).astype(np.int64),
        clips=ids,
        groups=ids,
        timestamps=ids * 0,
        row_numbers=ids,
        frame_rate=None,
        fingerprint="squares",
        larger={size: np.stack([resize(picture, *larger_size) for picture in pictures])},
    )


CORPUS = corpus()


def seen(monkeypatch: pytest.MonkeyPatch, epochs: int = 5, seed: int = 0, **augmentation: object) -> list[Seen]:
    """What a training learns from, batch by batch."""
    model = ModelConfig.model_validate({"head": "centre", "width": 4, "depth": 1, "image_size": f"{HEIGHT}x{WIDTH}"})
    config = TrainingConfig.model_validate(
        {"epochs": epochs, "batch_size": BATCH, "seed": seed, "lr": 1e-5, "augmentation": OFF | augmentation}
    )
    task = tasks.build(tasks.TASK_CHOICES.parse("detection"), LABELS)
    trainer = Trainer(build(model, 3), Batches(CORPUS, (HEIGHT, WIDTH), 1, "still", torch.device("cpu")), task, config)
    batches: list[Seen] = []
    composed: list[tuple[Parts, NDArray[np.float32]]] = []
    follow, step = trainer._changed_targets, trainer._step

    def watched_follow(order: NDArray[np.int64], parts: Parts) -> Tensor:
        composed.append((parts, trainer._rows.targets[order[parts.rows]]))
        return follow(order, parts)

    def watched_step(images: Tensor, targets: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        batches.append(Seen(images.clone(), targets.clone(), *composed[-1]))
        return step(images, targets, seen)

    monkeypatch.setattr(trainer, "_changed_targets", watched_follow)
    monkeypatch.setattr(trainer, "_step", watched_step)
    for _ in trainer.epochs():
        pass
    return batches


def objects(batch: Seen) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.float64], float]]:
    """For each picture and colour: where its pixels are, its boxes (n, 4) in pixels, and how much may lie outside."""
    scale = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
    growth = np.abs(np.linalg.det(batch.parts.moves[..., :2].astype(np.float64)))
    for row, (image, boxes) in enumerate(zip(batch.images.numpy(), batch.boxes.numpy(), strict=True)):
        for color in range(3):
            of_color = boxes[boxes[:, 4] == color, :4] * scale
            corners = np.concatenate([of_color[:, :2] - of_color[:, 2:] / 2, of_color[:, :2] + of_color[:, 2:] / 2], 1)
            source = batch.sources[:, row]
            areas = source[..., 2] * source[..., 3] * WIDTH * HEIGHT * growth[:, row, None]
            areas = areas[source[..., 4] == color]
            # A dropped box leaves less than a quarter of the object, and what a pixel at its edge adds.
            yield image[color] - image.min(0) > LEVEL, corners, float((areas / 4 + 2 * np.sqrt(areas)).sum())


def outside(mask: NDArray[np.bool_], corners: NDArray[np.float64]) -> int:
    """How many pixels lie in no box, a pixel around each granted."""
    rest = mask.copy()
    for left, top, right, bottom in corners:
        first, last = (math.floor(top) - 1, math.floor(left) - 1), (math.ceil(bottom) + 1, math.ceil(right) + 1)
        rest[max(first[0], 0) : last[0], max(first[1], 0) : last[1]] = False
    return int(rest.sum())


def slack(mask: NDArray[np.bool_], corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far (n,) the pixels in each box stay away from one of its sides, in pixels."""
    rows, columns = np.nonzero(mask)
    gaps = []
    for left, top, right, bottom in corners:
        inside = (columns >= left - 1) & (columns < right + 1) & (rows >= top - 1) & (rows < bottom + 1)
        if not inside.any():
            return np.array([np.inf])
        x, y = columns[inside], rows[inside]
        gaps.append(max(x.min() - left, right - x.max() - 1, y.min() - top, bottom - y.max() - 1))
    return np.array(gaps)


@pytest.mark.parametrize("name", [*CASES, *TURNED_CASES])
def test_pixels_lie_in_their_boxes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = (CASES | TURNED_CASES)[name]
    count = total = 0
    for batch in seen(monkeypatch, **settings):
        for mask, corners, allowed in objects(batch):
            total += int(mask.sum())
            left_out = outside(mask, corners)
            count += left_out
            assert left_out <= allowed + JPEG_SPOTS * ("jpeg" in settings)
    assert total > 0
    assert count < 0.05 * total


@pytest.mark.parametrize("name", CASES)
def test_boxes_are_tight(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for batch in seen(monkeypatch, **CASES[name]):
        for mask, corners, _ in objects(batch):
            if len(corners):
                assert slack(mask, corners).max() <= 1.5


STEPS_OF_LIGHT = {
    "photometric": {"photometric": 1.0, "hue": 0.1},
    "hsv": {"hsv": 1.0},
    "gray": {"gray": 1.0},
    "channel_order": {"channel_order": 1.0},
    "clahe": {"clahe": 1.0},
    "blur": {"blur": 1.0, "blur_sigma": 1.5},
    "median_blur": {"median_blur": 1.0},
    "motion_blur": {"motion_blur": 1.0, "motion_blur_length": 3},
    "noise": {"noise": 1.0},
    "jpeg": {"jpeg": 1.0},
}


@pytest.mark.parametrize("name", STEPS_OF_LIGHT)
def test_what_changes_light_moves_no_box(name: str) -> None:
    """200 pictures of one light square, whose brightest channel tells where it is."""
    rng = np.random.default_rng(0)
    images = torch.zeros(200, 3, HEIGHT, WIDTH)
    boxes = np.empty((200, 4), int)
    for image, box in zip(images, boxes, strict=True):
        side = int(rng.integers(10, 24))
        left, top = int(rng.integers(0, WIDTH - side)), int(rng.integers(0, HEIGHT - side))
        image[:, top : top + side, left : left + side] = torch.tensor([0.9, 0.7, 0.8])[:, None, None]
        box[:] = left, top, left + side, top + side
    settings = Augmentation.model_validate(OFF | STEPS_OF_LIGHT[name])
    changed, parts = augment(images, settings, torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(parts.moves, np.broadcast_to(np.eye(2, 3), (1, 200, 2, 3)))
    assert not torch.equal(changed, images)
    bright = changed.amax(1).numpy()
    background, light = np.median(bright, (1, 2)), np.quantile(bright, 0.98, (1, 2))
    for mask, box in zip(bright > (background + light)[:, None, None] / 2, boxes, strict=True):
        assert outside(mask, box[None]) == 0
        assert slack(mask, box[None]).max() <= 1.5
