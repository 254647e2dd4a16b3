"""Augmentation of whole batches on tensors: every sample draws its own change, all frames of a window share it.

The few numbers that describe each sample's change are computed in numpy, which is faster than torch for so few. Pixels
are changed by tensor code on their device: each step is one operation for all samples that take it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whc.tasks.parts import Parts
from whc.training.augmentation import colors, quality
from whc.training.augmentation.colors import even_out, light
from whc.training.augmentation.combining import combine
from whc.training.augmentation.numbers import Floats, drawn, on
from whc.training.augmentation.places import draw_views, move, moves
from whc.training.augmentation.settings import Augmentation

__all__ = ["Augmentation", "augment", "even_out", "light", "move", "moves"]

Step = Callable[[Tensor, Augmentation, torch.Generator], Tensor]

# Steps that draw for themselves, by the name of their probability, in the order in which they are taken.
COLOR_STEPS: dict[str, Step] = {"gray": colors.gray, "channel_order": colors.channel_order}
QUALITY_STEPS: dict[str, Step] = {
    "blur": quality.blur,
    "motion_blur": quality.motion_blur,
    "noise": quality.noise,
    "jpeg": quality.jpeg,
}


def augment(
    images: Tensor, settings: Augmentation, generator: torch.Generator, objects: Floats | None = None
) -> tuple[Tensor, Parts]:
    """Change a batch at random.

    Args:
        images: (N, T*3, H, W) float in 0..1, RGB frames stacked as channels; fastest when contiguous.
        settings: probabilities and strengths of the steps.
        generator: the only source of randomness, on any device; a generator on the CPU never makes a GPU wait.
        objects: (N, K, 4) what may be pasted, as `Task.objects` gives it; only needed for `copy_paste`.

    Returns:
        A new contiguous tensor of the same shape and range; and what its pictures are made of.
    """
    originals = images
    chances, reaches = _limits(settings)
    random_numbers = drawn(generator, 12, len(images))
    lit, flipped, moved, is_evened = random_numbers[:4] < chances
    change = (2 * random_numbers[4:] - 1) * reaches
    places, views = np.where(moved, change[4:], 0), draw_views(settings, len(images), generator)
    # The first step makes the copy that the others change in place, and lays out each channel separately in memory:
    # this makes all later steps, and the backward pass, twice as fast. A sample that is not lit goes through the
    # identity, because splitting the batch would cost as much.
    if settings.photometric:
        images = light(images, change[:4] * lit)
    else:
        images = images.clone(memory_format=torch.contiguous_format)
    _place(images, flipped, moved, places, views, settings)
    _take(COLOR_STEPS, images, settings, generator)
    _replace(images, is_evened, even_out)
    parts = Parts.whole(moves(flipped, places, images.shape[2:], views), images.shape[2:])
    if settings.combining:
        parts = combine(images, parts, settings, generator, originals, objects)
    _take(QUALITY_STEPS, images, settings, generator)
    return images, parts


def _place(
    images: Tensor,
    flipped: NDArray[np.bool_],
    moved: NDArray[np.bool_],
    places: Floats,
    views: Floats | None,
    settings: Augmentation,
) -> None:
    """Mirror, crop and move some of the samples, in place; mirroring alone needs no sampling."""
    if views is not None:
        moved = moved | (np.abs(views) != np.eye(1, 2, dtype=np.float32)).any((1, 2))
        _replace(images, (views[:, 1, 0] < 0) & ~moved, lambda pictures: pictures.flip(-2))
    seen = None if views is None else views[moved]
    _replace(images, flipped & ~moved, lambda pictures: pictures.flip(-1))
    _replace(images, moved, lambda pictures: move(pictures, flipped[moved], places[:, moved], settings.outside, seen))


def _take(steps: dict[str, Step], images: Tensor, settings: Augmentation, generator: torch.Generator) -> None:
    """Take the steps that are on, in place, each for samples of its own."""
    for name, step in steps.items():
        if chance := getattr(settings, name):
            is_chosen = drawn(generator, len(images)) < np.float32(chance)
            _replace(images, is_chosen, lambda pictures, step=step: step(pictures, settings, generator))  # type: ignore[misc]


def _replace(images: Tensor, is_chosen: NDArray[np.bool_], step: Callable[[Tensor], Tensor]) -> None:
    """Apply a step to some of the samples, in place."""
    rows = is_chosen.nonzero()[0]
    if len(rows):
        index = on(images, rows)
        images.index_copy_(0, index, step(images.index_select(0, index)))


@cache
def _limits(settings: Augmentation) -> tuple[Floats, Floats]:
    """(4, 1) probabilities of being lit, flipped, moved, evened out; (8, 1) largest changes."""
    chances = settings.photometric, settings.flip, settings.affine, settings.clahe
    colors = settings.brightness, settings.contrast, settings.saturation, math.tau * settings.hue
    places = math.radians(settings.rotation_degrees), settings.scale, 2 * settings.shift, 2 * settings.shift
    return np.array(chances, np.float32)[:, None], np.array(colors + places, np.float32)[:, None]
