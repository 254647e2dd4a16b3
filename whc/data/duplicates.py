"""Pictures and clips that show the same: exactly, by a hash of their pixels, or nearly, by a difference hash."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from whc.data.preprocess import Image

# Of 10,519 face crops, re-encoded, scaled by two or brightened, over 99 % come within both; of the pairs of different
# people 2 in 55 million do.
NEAR_BITS = 7  # of 64 may differ
NEAR_CORRELATION = 0.95  # of 16x16 grey thumbnails, at least
MOMENTS = 3  # of a clip that are compared: its first, middle and last frame

_HASH_SIDE = 8
_THUMBNAIL_SIDE = 16
_BLOCK_ROWS = 128
_FLAT = 2.0  # standard deviation in levels below which a thumbnail shows nothing to compare


class Look(NamedTuple):
    """What a picture looks like: a digest of its pixels, 64 bits of its gradients, and a 16x16 grey thumbnail."""

    digest: bytes
    bits: NDArray[np.uint8]
    thumbnail: Image

    @property
    def is_flat(self) -> bool:
        """Whether there is nothing to tell it from other empty pictures, such as black frames."""
        return float(self.thumbnail.std()) < _FLAT


def look(picture: Image) -> Look:
    """Look at a picture (H, W, 3).

    The difference hash tells for each of 8x8 places whether brightness rises to the right
    (https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html).
    """
    height, width = picture.shape[:2]
    digest = hashlib.blake2b(f"{width}x{height}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(picture).data)  # as it lies: a copy of a large picture takes 300 MB
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    steps = cv2.resize(grey, (_HASH_SIDE + 1, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(grey, (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return Look(digest.digest(), np.packbits(steps[:, 1:] > steps[:, :-1]), np.asarray(thumbnail, np.uint8))


def clusters(items: Sequence[Sequence[Look]]) -> list[int]:
    """A number for each item, the same for items that show nearly the same.

    Items are near when their hashes differ in at most NEAR_BITS of 64 bits and their thumbnails correlate by
    NEAR_CORRELATION; clips when MOMENTS of their frames do so taken together, or when they share a frame exactly. What
    is near the same item shares its cluster. Empty pictures are near nothing.

    Args:
        items: the looks of each picture (one) or clip (its frames in order).
    """
    near = _near([_moments(looks) for looks in items])
    shared = [[f.digest for f in looks if not f.is_flat] for looks in items]
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
        first: dict[Hashable, int] = {}
        for item, own in enumerate(kind):
            for key in own:
                low, high = sorted((root(first.setdefault(key, item)), root(item)))
                parent[high] = low
    return [root(item) for item in range(count)]


def _moments(looks: Sequence[Look]) -> list[Look]:
    """MOMENTS frames of a clip, evenly spaced; a picture is its own only moment."""
    if len(looks) == 1:
        return list(looks)
    return [looks[i] for i in np.linspace(0, len(looks) - 1, MOMENTS).round().astype(int)]


def _near(items: Sequence[Sequence[Look]]) -> NDArray[np.int64]:
    """A label for each item, equal where a chain of near items joins them."""
    labels = np.arange(len(items))
    for length in {len(looks) for looks in items}:
        alive = [i for i, looks in enumerate(items) if len(looks) == length and not all(one.is_flat for one in looks)]
        if alive:
            bits = np.array([[one.bits for one in items[i]] for i in alive]).reshape(len(alive), -1)
            small = np.array([[one.thumbnail for one in items[i]] for i in alive], np.float32)
            small = (small - small.mean((2, 3), keepdims=True)).reshape(len(alive), -1)
            small /= np.linalg.norm(small, axis=1, keepdims=True)
            _unite(labels, np.array(alive), bits.view(np.uint64), small)
    return labels


def _unite(
    labels: NDArray[np.int64], rows: NDArray[np.int64], words: NDArray[np.uint64], small: NDArray[np.float32]
) -> None:
    """Give near rows one label, in place. All are compared with all: a second for 15,000, a minute for 100,000."""
    allowed = NEAR_BITS * words.shape[1]
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = words[start : start + _BLOCK_ROWS]
        differing = sum(
            np.bitwise_count(one[:, None] ^ every) for one, every in zip(block.T, words[start:].T, strict=True)
        )
        alike = np.asarray(differing) <= allowed
        busy = np.flatnonzero(alike.sum(1) > 1)  # a row is like itself
        near = alike[busy] & (small[start + busy] @ small[start:].T >= NEAR_CORRELATION)
        for i, others in zip(rows[start + busy], near, strict=True):
            for label in set(labels[rows[start:][others]].tolist()) - {int(labels[i])}:
                labels[labels == label] = labels[i]
