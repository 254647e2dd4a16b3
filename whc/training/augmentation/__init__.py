"""Augmentation of whole batches on tensors: every sample draws its own change, all frames of a window share it.

The few numbers that describe each sample's change are computed in numpy, which is faster than torch for so few. Pixels
are changed by tensor code on their device: each step is one operation for all samples that take it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whc.tasks.parts import Parts
from whc.training.augmentation import light as lights
from whc.training.augmentation.composing import compose
from whc.training.augmentation.light import color_maps, even_out, light
from whc.training.augmentation.numbers import Floats, drawn, on
from whc.training.augmentation.places import draw_views, move, moves
from whc.training.augmentation.settings import Augmentation
from whc.training.batches import Larger

__all__ = ["Augmentation", "augment", "even_out", "light", "move", "moves"]

ROUNDING_ERROR = 1e-4

Step = Callable[[Tensor, Augmentation, torch.Generator], Tensor]

# Steps that draw for themselves, by the name of their probability, in the order in which they are taken.
QUALITY_STEPS: dict[str, Step] = {
    "blur": lights.blur,
    "median_blur": lights.median_blur,
    "motion_blur": lights.motion_blur,
    "noise": lights.noise,
    "jpeg": lights.jpeg,
}


def augment(
    images: Tensor,
    settings: Augmentation,
    generator: torch.Generator,
    objects: Floats | None = None,
    larger: Larger | None = None,
) -> tuple[Tensor, Parts]:
    """Change a batch at random.

    Args:
        images: (N, T*3, H, W) float in 0..1, RGB frames stacked as channels; fastest when contiguous. Where `larger` is
            given, they may be overwritten.
        settings: probabilities and strengths of the steps.
        generator: the only source of randomness, on any device; a generator on the CPU never makes a GPU wait.
        objects: (N, K, 4) what may be pasted, as `Task.objects` gives it; only needed for `copy_paste`.
        larger: where there is one, enlarged parts of pictures are taken from what it gives, and stay sharp.

    Returns:
        A new contiguous tensor of the same shape and range; and what its pictures are made of.
    """
    originals = images
    images, parts = _changed(images, settings, generator, larger)
    if settings.composing:
        parts = compose(images, parts, settings, generator, originals, objects)
    _take(QUALITY_STEPS, images, settings, generator)
    return images, parts


def _changed(
    images: Tensor, settings: Augmentation, generator: torch.Generator, larger: Larger | None
) -> tuple[Tensor, Parts]:
    """Colours and places of each picture, which stays one."""
    chances, reaches = _limits(settings)
    random_numbers = drawn(generator, 12, len(images))
    is_lit, flipped, is_moved, is_evened = random_numbers[:4] < chances
    change = (2 * random_numbers[4:] - 1) * reaches
    views, maps = draw_views(settings, len(images), generator), color_maps(settings, len(images), generator)
    placing = _Placing(flipped, is_moved, np.where(is_moved, change[4:], 0), views, settings)
    point_moves = moves(flipped, placing.changes, images.shape[2:], views)

    # The first step makes the copy that the others change in place, and lays out each channel separately in memory:
    # this makes all later steps, and the backward pass, twice as fast. A sample that is not lit goes through the
    # identity, because splitting the batch would cost as much.
    def lit(images: Tensor) -> Tensor:
        if settings.photometric or maps is not None:
            return light(images, change[:4] * is_lit, maps)
        return images.clone(memory_format=torch.contiguous_format)

    if larger:  # so many pixels are lit after most of them are left out
        if settings.copy_paste:  # of the pictures as they were
            images = images.clone(memory_format=torch.contiguous_format)
        placing.place(images, point_moves, larger)
        images = lit(images)
    else:
        images = lit(images)
        placing.place(images, point_moves, None)
    _replace(images, is_evened, even_out)
    return images, Parts.whole(point_moves, images.shape[2:])


@dataclass(frozen=True)
class _Placing:
    """How samples are mirrored (N,), moved (N,) by `changes` (4, N), and cropped to `views`, as for `move`."""

    flipped: NDArray[np.bool_]
    is_moved: NDArray[np.bool_]
    changes: Floats
    views: Floats | None
    settings: Augmentation

    def place(self, images: Tensor, point_moves: Floats, larger: Larger | None) -> None:
        """Mirror, crop and move, in place; mirroring alone needs no sampling."""
        is_sampled = self.is_moved
        if self.views is not None:
            is_sampled = is_sampled | (np.abs(self.views) != np.eye(1, 2, dtype=np.float32)).any((1, 2))
            _replace(images, (self.views[:, 1, 0] < 0) & ~is_sampled, lambda pictures: pictures.flip(-2))
        _replace(images, self.flipped & ~is_sampled, lambda pictures: pictures.flip(-1))
        is_enlarged = np.zeros_like(is_sampled)
        if larger:
            # A picture that shrinks would be sampled too sparsely out of more pixels.
            is_enlarged = is_sampled & (np.abs(np.linalg.det(point_moves[:, :, :2])) > 1 + ROUNDING_ERROR)
        self._sample(images, is_sampled & ~is_enlarged, lambda rows: images.index_select(0, on(images, rows)))
        if larger:
            self._sample(images, is_enlarged, larger)

    def _sample(self, images: Tensor, is_chosen: NDArray[np.bool_], source: Larger) -> None:
        rows = is_chosen.nonzero()[0]
        if len(rows):
            views = None if self.views is None else self.views[rows]
            flipped, changes, outside = self.flipped[rows], self.changes[:, rows], self.settings.outside
            placed = move(source(rows), flipped, changes, outside, views, images.shape[2:])
            images.index_copy_(0, on(images, rows), placed)


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
