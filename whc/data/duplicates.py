"""Duplicate pictures and clips: exact ones, by a hash of their pixels, and near ones, by a difference hash."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from whc.data.preprocess import Image

# Of 10,519 face crops that were re-encoded, scaled by two or brightened, over 99 % stay within both limits. Of the
# pairs of different people, 2 in 55 million do.
NEAR_BITS = 7  # of 64 may differ
NEAR_CORRELATION = 0.95  # of 16x16 grey thumbnails, at least
COMPARED_FRAMES = 3  # of each clip: its first, middle and last frame

_HASH_SIDE = 8
_THUMBNAIL_SIDE = 16
_BLOCK_ROWS = 128
_FLAT_CONTRAST = 2.0  # standard deviation in grey levels, below which a thumbnail shows nothing to compare


class Appearance(NamedTuple):
    """Appearance of a picture: a digest of its pixels, 64 bits of its gradients, a 16x16 grey thumbnail.

    `size` is its width and height in pixels.
    """

    digest: bytes
    bits: NDArray[np.uint8]
    thumbnail: Image
    size: tuple[int, int]

    @property
    def is_flat(self) -> bool:
        """Whether the picture is empty, such as a black frame, and so cannot be compared with others."""
        return float(self.thumbnail.std()) < _FLAT_CONTRAST


def appearance(picture: Image) -> Appearance:
    """Appearance of a picture (H, W, 3).

    Each bit of the difference hash says whether, at one of 8x8 places, brightness rises to the right
    (https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html).
    """
    height, width = picture.shape[:2]
    digest = hashlib.blake2b(f"{width}x{height}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(picture).data)  # without a copy: that of a large picture takes 300 MB
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    steps = cv2.resize(grey, (_HASH_SIDE + 1, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(grey, (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    bits = np.packbits(steps[:, 1:] > steps[:, :-1])
    return Appearance(digest.digest(), bits, np.asarray(thumbnail, np.uint8), (width, height))


def clusters(items: Sequence[Sequence[Appearance]]) -> list[int]:
    """Cluster number of each item; near-duplicates have the same number.

    Items are near when their hashes differ in at most NEAR_BITS of 64 bits and their thumbnails correlate by at least
    NEAR_CORRELATION. Clips are near when COMPARED_FRAMES of their frames are so together, or when they share an
    identical frame. Items near to the same item share its cluster. Empty pictures are not near to any item.

    Args:
        items: for each picture its appearance, in a list; for each clip the appearances of its frames in order.
    """
    near = _near([_compared_frames(appearances) for appearances in items])
    shared = [[frame.digest for frame in appearances if not frame.is_flat] for appearances in items]
    return join(len(items), [[[label] for label in near.tolist()], shared])


def join(count: int, keys: Sequence[Sequence[Sequence[Hashable]]]) -> list[int]:
    """Unite items that have a key in common, directly or through others.

    Args:
        count: number of items N.
        keys: kinds of keys; for each kind, the keys of each of the N items.

    Returns:
        For each item the number of the first item that it is united with.
    """
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for kind in keys:
        first_with_key: dict[Hashable, int] = {}
        for item, item_keys in enumerate(kind):
            for key in item_keys:
                low, high = sorted((root(first_with_key.setdefault(key, item)), root(item)))
                parent[high] = low
    return [root(item) for item in range(count)]


def _compared_frames(appearances: Sequence[Appearance]) -> list[Appearance]:
    """COMPARED_FRAMES frames of a clip, evenly spaced; a picture is its own only frame."""
    if len(appearances) == 1:
        return list(appearances)
    return [appearances[i] for i in np.linspace(0, len(appearances) - 1, COMPARED_FRAMES).round().astype(int)]


def _near(items: Sequence[Sequence[Appearance]]) -> NDArray[np.int64]:
    """A label for each item, equal where a chain of near items joins them."""
    labels = np.arange(len(items))
    for length in {len(appearances) for appearances in items}:
        same_length = (i for i, appearances in enumerate(items) if len(appearances) == length)
        visible = [i for i in same_length if not all(frame.is_flat for frame in items[i])]
        if visible:
            bits = np.array([[frame.bits for frame in items[i]] for i in visible]).reshape(len(visible), -1)
            thumbnails = np.array([[frame.thumbnail for frame in items[i]] for i in visible], np.float32)
            thumbnails = (thumbnails - thumbnails.mean((2, 3), keepdims=True)).reshape(len(visible), -1)
            thumbnails /= np.linalg.norm(thumbnails, axis=1, keepdims=True)
            _unite(labels, np.array(visible), bits.view(np.uint64), thumbnails)
    return labels


def _unite(
    labels: NDArray[np.int64], rows: NDArray[np.int64], hash_words: NDArray[np.uint64], thumbnails: NDArray[np.float32]
) -> None:
    """Give near rows the same label, in place.

    Each row is compared with all others: 15,000 rows take a second, 100,000 a minute.
    """
    allowed = NEAR_BITS * hash_words.shape[1]
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = hash_words[start : start + _BLOCK_ROWS]
        pairs = zip(block.T, hash_words[start:].T, strict=True)
        differing = sum(np.bitwise_count(block_word[:, None] ^ row_word) for block_word, row_word in pairs)
        alike = np.asarray(differing) <= allowed
        candidates = np.flatnonzero(alike.sum(1) > 1)  # every row is like itself
        near = alike[candidates] & (thumbnails[start + candidates] @ thumbnails[start:].T >= NEAR_CORRELATION)
        for i, is_near in zip(rows[start + candidates], near, strict=True):
            for label in set(labels[rows[start:][is_near]].tolist()) - {int(labels[i])}:
                labels[labels == label] = labels[i]
