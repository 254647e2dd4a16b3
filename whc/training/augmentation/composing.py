"""Steps that put several pictures of a batch into one: each tells what its pictures are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from whc.tasks.parts import Parts
from whc.training.augmentation.numbers import Floats, drawn, on
from whc.training.augmentation.settings import Augmentation

Numbers = NDArray[np.int64]
Bools = NDArray[np.bool_]

MIN_TILE = 0.25  # of the side of a picture
MIN_PASTED_SIDE = 1 / 32  # of the picture's side, of an object that is pasted
_QUADRANTS = ((0, 0), (1, 0), (0, 1), (1, 1))  # whether right, whether low


def compose(
    images: Tensor,
    parts: Parts,
    settings: Augmentation,
    generator: torch.Generator,
    originals: Tensor,
    objects: Floats | None,
) -> Parts:
    """Take the steps that are on, in place: mosaic, then blending, then pasting.

    Args:
        images: (N, T*3, H, W).
        parts: what they are made of.
        settings: probabilities and strengths.
        generator: the only source of randomness.
        originals: the pictures before any step, from which objects are pasted.
        objects: (N, K, 4) left, top, right, bottom of these in pixels from the centre, 0 where there is none.

    Returns:
        What the pictures are made of then.
    """
    if settings.mosaic:
        parts = _mosaic(images, parts, settings, generator)
    if settings.mixup:
        parts = _mixup(images, parts, settings, generator)
    if settings.copy_paste:
        if objects is None:
            raise ValueError("copy_paste needs the objects of the pictures")
        parts = _paste(images, parts, settings, generator, originals, objects)
    return parts


def _mixup(images: Tensor, parts: Parts, settings: Augmentation, generator: torch.Generator) -> Parts:
    """Blend pictures equally with another one each (Zhang 2018, with the share fixed at a half)."""
    rows = _chosen(settings.mixup, len(images), generator)
    partners = _others(rows, len(images), drawn(generator, len(rows)))
    index = on(images, rows)
    blended = torch.lerp(images[index], images[on(images, partners)], 0.5)
    images.index_copy_(0, index, blended)
    return parts.and_then(_seen_in(parts, rows, partners, _stay(len(rows)), _anywhere(images, len(rows))))


def _mosaic(images: Tensor, parts: Parts, settings: Augmentation, generator: torch.Generator) -> Parts:
    """Put four pictures of the batch side by side (Bochkovskiy 2020): whole ones at half size, or parts at full size.

    Nothing is sampled: tiles are copied, from pictures or from their halves.
    """
    rows = _chosen(settings.mosaic, len(images), generator)
    numbers = drawn(generator, 14, len(rows))
    pictures = np.concatenate([rows[None], _others(rows, len(images), numbers[:3])])
    is_whole = numbers[3] < np.float32(settings.mosaic_whole)
    tiles, starts = _tiles(is_whole, numbers[4:6], numbers[6:], images.shape[2:])
    if len(rows):
        images.index_copy_(0, on(images, rows), _drawn_mosaics(images, pictures, is_whole, tiles, starts))
    sides = np.array(images.shape[:1:-1], np.float32)
    moves, windows = _moves(is_whole, starts, sides), tiles - np.tile(sides / 2, 2)
    whole = _seen_in(parts, rows, pictures[0], moves[0], windows[0], keeps_rest=True)
    for picture, move, window in zip(pictures[1:], moves[1:], windows[1:], strict=True):
        whole = whole.and_then(_seen_in(parts, rows, picture, move, window))
    return whole


def _tiles(is_whole: Bools, seams: Floats, places: Floats, size: Sequence[int]) -> tuple[Floats, Floats]:
    """Tiles (4, M, 4) left, top, right, bottom and starts of their pictures (4, M, 2), in whole pixels from the corner.

    Args:
        is_whole: (M,) whether a mosaic has its seam in the middle, and pictures of half the size.
        seams: (2, M) drawn numbers, where it is else.
        places: (8, M) drawn numbers, where each picture lies behind its tile.
        size: height and width.
    """
    sides = np.array(size[::-1], np.float32)
    seam = np.where(is_whole, 0.5, MIN_TILE + (1 - 2 * MIN_TILE) * seams).T * sides // 1
    shown = np.where(is_whole[:, None], -(-sides // 2), sides)
    tiles, starts = [], []
    for quadrant, place in zip(_QUADRANTS, places.reshape(4, 2, -1), strict=True):
        low, high = np.where(quadrant, seam, 0), np.where(quadrant, sides, seam)
        tiles.append(np.concatenate([low, high], 1))
        # Somewhere between the picture's end at the tile's end, and its start at the tile's start.
        starts.append(high - shown + np.floor(place.T * (shown - (high - low) + 1)).clip(0, shown - (high - low)))
    return np.array(tiles, np.float32), np.array(starts, np.float32)


def _moves(is_whole: Bools, starts: Floats, sides: Floats) -> Floats:
    """(4, M, 2, 3) of pictures that start there, at half their size or their own."""
    scale = np.where(is_whole, 0.5, 1).astype(np.float32)[:, None]
    moves = np.zeros((*starts.shape[:2], 2, 3), np.float32)
    moves[..., [0, 1], [0, 1]] = scale
    moves[..., 2] = starts + scale * sides / 2 - sides / 2
    return moves


def _drawn_mosaics(images: Tensor, pictures: Numbers, is_whole: Bools, tiles: Floats, starts: Floats) -> Tensor:
    """(M, C, H, W) mosaics of the `pictures` (4, M), as `_tiles` places them."""
    halved = pictures[:, is_whole].T.ravel()
    half_images = _halved(images.index_select(0, on(images, halved))) if len(halved) else images[:0]
    draw = _copy_tiles if images.is_cpu else _gather_tiles
    mosaics = images.new_empty((pictures.shape[1], *images.shape[1:]))
    places_of_halves = np.arange(len(halved)).reshape(-1, 4).T
    for source, numbers, rows in (
        (half_images, places_of_halves, np.flatnonzero(is_whole)),
        (images, pictures[:, ~is_whole], np.flatnonzero(~is_whole)),
    ):
        draw(mosaics, rows, source, numbers, tiles[:, rows], starts[:, rows])
    return mosaics


def _copy_tiles(
    mosaics: Tensor, rows: Numbers, source: Tensor, numbers: Numbers, tiles: Floats, starts: Floats
) -> None:
    """Draw mosaics `rows` (M,) of the pictures `numbers` (4, M) of a source, one tile after another."""
    canvas, pictures = mosaics.numpy(), source.numpy()  # NumPy is several times faster at copying small pieces
    corners = np.concatenate([tiles, starts], -1).astype(int).tolist()
    for of_quadrant, corners_of_quadrant in zip(numbers.tolist(), corners, strict=True):
        for row, number, corner in zip(rows.tolist(), of_quadrant, corners_of_quadrant, strict=True):
            left, top, right, low, x, y = corner
            canvas[row, :, top:low, left:right] = pictures[number, :, top - y : low - y, left - x : right - x]


def _gather_tiles(
    mosaics: Tensor, rows: Numbers, source: Tensor, numbers: Numbers, tiles: Floats, starts: Floats
) -> None:
    """As `_copy_tiles`, all pixels at once: a GPU needs as long to begin a copy as for thousands of pixels."""
    y, x = (torch.arange(side, device=source.device) for side in mosaics.shape[2:])
    seams, places = on(source, tiles[3, :, :2].astype(np.int64)), on(source, starts.astype(np.int64))
    quadrants = (x >= seams[:, :1])[:, None] + 2 * (y >= seams[:, 1:])[..., None]  # (M, H, W)
    mosaic = torch.arange(len(rows), device=source.device)[:, None, None]
    pictures, corners = on(source, numbers)[quadrants, mosaic], places[quadrants, mosaic]
    pixels = source.permute(0, 2, 3, 1)[pictures, y[:, None] - corners[..., 1], x - corners[..., 0]]
    mosaics.index_copy_(0, on(mosaics, rows), pixels.permute(0, 3, 1, 2))


def _halved(images: Tensor) -> Tensor:
    """Means of 2x2 pixels, in half the time of `avg_pool2d`; the last row or column counts twice where it is alone."""
    height, width = images.shape[2:]
    if height % 2 or width % 2:
        images = pad(images, (0, width % 2, 0, height % 2), mode="replicate")
    rows = images[:, :, ::2] + images[:, :, 1::2]
    return (rows[..., ::2] + rows[..., 1::2]).mul_(0.25)


def _anywhere(images: Tensor, number: int) -> Floats:
    """Windows (M, 4) that cut nothing."""
    height, width = images.shape[2:]
    return np.tile(np.array([-width, -height, width, height], np.float32) / 2, (number, 1))


def _paste(
    images: Tensor,
    parts: Parts,
    settings: Augmentation,
    generator: torch.Generator,
    originals: Tensor,
    objects: Floats,
) -> Parts:
    """Paste up to `paste_count` objects on top of some pictures, in place.

    Args:
        images: (N, T*3, H, W).
        parts: what they are made of.
        settings: probability and strengths.
        generator: the only source of randomness.
        originals: (N, T*3, H, W) pictures from which objects are pasted.
        objects: (N, K, 4) left, top, right, bottom of these in pixels from the centre, 0 where there is none.
    """
    count = len(images)
    rows = _chosen(settings.copy_paste, count, generator)
    sources = Parts.whole(_stay(count), images.shape[2:])
    sources = Parts(sources.rows, sources.moves, sources.windows, np.ones(1, np.bool_))
    numbers = drawn(generator, settings.paste_count, 5, len(rows))
    pastes = 1 + (drawn(generator, len(rows)) * settings.paste_count).astype(np.int64)
    for turn, of_turn in enumerate(numbers):
        donors = _others(rows, count, of_turn[0])
        picked = _picked_objects(objects[donors], of_turn[1], images.shape[2:])
        is_pasted = (turn < pastes) & _is_large(picked, images.shape[2:])
        targets, pictures, boxes = (
            rows[is_pasted],
            donors[is_pasted],
            _whole_pixels(picked[is_pasted], images.shape[2:]),
        )
        moves, windows = _pasted_places(boxes, of_turn[2:, is_pasted], settings.paste_scale, images.shape[2:])
        _draw_pasted(images, targets, originals, pictures, boxes, windows)
        parts = parts.and_then(_seen_in(sources, targets, pictures, moves, windows))
    return parts


def _is_large(objects: Floats, size: Sequence[int]) -> Bools:
    """Whether objects (..., 4) are large enough to be pasted."""
    sides = np.array(size[::-1], np.float32)
    return np.asarray((objects[..., 2:] - objects[..., :2] >= MIN_PASTED_SIDE * sides).all(-1))


def _picked_objects(objects: Floats, numbers: Floats, size: Sequence[int]) -> Floats:
    """One of the objects (M, K, 4) of each picture that are large enough, by drawn numbers (M,); else a small one."""
    is_large = _is_large(objects, size)
    ranks = (numbers * is_large.sum(1)).astype(np.int64)
    order = np.argsort(~is_large, axis=1, kind="stable")
    rows = np.arange(len(objects))
    return np.asarray(objects[rows, order[rows, ranks]])


def _whole_pixels(boxes: Floats, size: Sequence[int]) -> Floats:
    """Boxes (M, 4) from the centre, as large as the pixels that they touch."""
    middle = np.tile(np.array(size[::-1], np.float32) / 2, 2)
    corners = boxes + middle
    near = 1e-3  # of a rounding error
    outer = np.concatenate([np.floor(corners[:, :2] + near), np.ceil(corners[:, 2:] - near)], 1)
    return np.asarray(outer - middle, np.float32)


def _pasted_places(boxes: Floats, numbers: Floats, jitter: float, size: Sequence[int]) -> tuple[Floats, Floats]:
    """Moves (M, 2, 3) and windows (M, 4) of boxes (M, 4) at random places and sizes, both in whole pixels."""
    sides = np.array(size[::-1], np.float32)
    before = boxes[:, 2:] - boxes[:, :2]
    scale = 1 + jitter * (2 * numbers[:1].T - 1)
    after = np.clip(np.rint(before * scale), 1, sides)
    low = np.floor(numbers[1:].T * (sides - after + 1)).clip(0, sides - after) - sides / 2
    moves = np.zeros((len(boxes), 2, 3), np.float32)
    moves[:, [0, 1], [0, 1]] = after / before
    moves[:, :, 2] = low - boxes[:, :2] * after / before
    return moves, np.concatenate([low, low + after], 1).astype(np.float32)


def _draw_pasted(
    images: Tensor, rows: Numbers, originals: Tensor, pictures: Numbers, boxes: Floats, windows: Floats
) -> None:
    """Resize what is in the boxes of the `pictures` to the windows of the `rows` (M,), in place."""
    middle = np.tile(np.array(images.shape[:1:-1], np.float32) / 2, 2)
    sources, places = ((corners + middle).astype(int).tolist() for corners in (boxes, windows))
    for row, picture, source, place in zip(rows.tolist(), pictures.tolist(), sources, places, strict=True):
        left, top, right, low = source
        x, y, x_end, y_end = place
        pixels = originals[picture : picture + 1, :, top:low, left:right]
        images[row, :, y:y_end, x:x_end] = interpolate(pixels, (y_end - y, x_end - x), mode="bilinear")[0]


def _chosen(chance: float, count: int, generator: torch.Generator) -> Numbers:
    """Numbers of the pictures that take a step."""
    return np.flatnonzero(drawn(generator, count) < np.float32(chance))


def _others(pictures: Numbers, count: int, numbers: Floats) -> Numbers:
    """For each of M pictures, another one of the batch of `count`; itself where it is alone. Drawn numbers (..., M)."""
    steps = 1 + (numbers * max(count - 1, 1)).astype(np.int64)
    return np.asarray((pictures + steps) % count)


def _seen_in(
    parts: Parts, rows: Numbers, pictures: Numbers, moves: Floats, windows: Floats, keeps_rest: bool = False
) -> Parts:
    """What `rows` (M,) of the pictures show of others, by moves and windows; the rest shows nothing, or itself."""
    count = len(parts)
    all_pictures, all_moves, all_windows = np.arange(count), _stay(count), np.zeros((count, 4), np.float32)
    if keeps_rest:
        all_windows = parts.windows[0].copy()
    all_pictures[rows], all_moves[rows], all_windows[rows] = pictures, moves, windows
    return parts.of(all_pictures, all_moves, all_windows)


def _stay(count: int) -> Floats:
    """Moves (N, 2, 3) that change nothing."""
    return np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
