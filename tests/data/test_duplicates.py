"""What shows the same, exactly or nearly, is found; what does not is left apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.data import dataset, duplicates
from whc.data.duplicates import appearance, clusters, join
from whc.data.preprocess import Image, decode
from whc.tasks.classification import Classification

read = partial(dataset.read, task=Classification)


def soft(seed: int, height: int = 60, width: int = 80) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def jpeg(picture: Image, quality: int) -> Image:
    decoded = decode(cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
    assert decoded is not None
    return decoded


def noisy(picture: Image) -> Image:
    noise = np.random.default_rng(1).normal(0, 4, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


NEAR: dict[str, Callable[[Image], Image]] = {
    "itself": lambda picture: picture.copy(),
    "encoded again": lambda picture: jpeg(picture, 40),
    "half the size": lambda picture: cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "twice the size": lambda picture: cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "brighter": lambda picture: np.clip(picture.astype(int) + 15, 0, 255).astype(np.uint8),
    "noisy": noisy,
    "grey": lambda picture: cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    "less of its rim": lambda picture: picture[1:-1, 1:-1],
}


@pytest.mark.parametrize("kind", NEAR)
def test_near_duplicates_share_a_cluster_and_other_pictures_do_not(kind: str) -> None:
    pictures = [soft(seed) for seed in range(20)]
    result = clusters([[appearance(picture)] for picture in (*pictures, *map(NEAR[kind], pictures))])
    assert result == [*range(20), *range(20)]


def test_a_chain_of_near_pictures_is_one_cluster() -> None:
    chain = [soft(3)]
    for _ in range(12):
        chain.append(np.clip(chain[-1].astype(int) + soft(4) // 24, 0, 255).astype(np.uint8))
    ends = clusters([[appearance(chain[0])], [appearance(chain[-1])]])
    assert ends == [0, 1]
    assert set(clusters([[appearance(picture)] for picture in chain])) == {0}


def test_more_pictures_than_are_compared_at_once() -> None:
    count = duplicates._BLOCK_ROWS + 20
    looks = [[appearance(soft(seed, 16, 16))] for seed in range(count)]
    result = clusters([*looks, *looks[::-1]])
    assert result[:count] == list(range(count))
    assert result[count:] == list(range(count))[::-1]


def test_pictures_that_show_nothing_are_near_nothing() -> None:
    dark, light = (np.full((20, 20, 3), level, np.uint8) for level in (0, 200))
    barely = dark.copy()
    barely[0, 0] = 3
    assert clusters([[appearance(picture)] for picture in (dark, light, barely, dark)]) == [0, 1, 2, 3]
    assert clusters([[appearance(dark)] * 5, [appearance(dark)] * 5]) == [0, 1]


def test_digests_are_of_the_pixels_and_the_shape() -> None:
    picture = soft(0)
    assert appearance(picture).digest == appearance(picture.copy()).digest
    changed = picture.copy()
    changed[5, 5, 0] ^= 1
    flat = np.zeros((4, 6, 3), np.uint8)
    assert len({appearance(one).digest for one in (picture, changed, flat, flat.reshape(6, 4, 3))}) == 4


def test_clips_are_near_when_their_moments_are() -> None:
    clip = [soft(seed) for seed in range(9)]
    again = [jpeg(picture, 60) for picture in clip]
    half_other = [jpeg(picture, 80) for picture in clip[:5]] + [soft(seed) for seed in range(20, 24)]
    result = clusters([[appearance(picture) for picture in one] for one in (clip, again, half_other)])
    assert result == [0, 0, 2]


def test_clips_that_share_a_frame_are_one_cluster_unless_it_is_empty() -> None:
    dark = np.zeros((60, 80, 3), np.uint8)
    first = [dark, soft(0), soft(1), soft(2)]
    shares = [soft(5), soft(6), soft(1), soft(7), soft(8)]
    apart = [dark, soft(10), soft(11)]
    assert clusters([[appearance(picture) for picture in one] for one in (first, shares, apart)]) == [0, 0, 2]


def test_no_items() -> None:
    assert clusters([]) == []


@given(st.lists(st.lists(st.integers(0, 8), max_size=3), max_size=12))
def test_join_is_what_a_flood_finds(keys: list[list[int]]) -> None:
    expected = []
    for item in range(len(keys)):
        seen, reached = set(keys[item]), {item}
        for _ in keys:
            reached |= {other for other, own in enumerate(keys) if seen & set(own)}
            seen = seen.union(*(keys[other] for other in reached))
        expected.append(min(reached))
    assert join(len(keys), [keys]) == expected
    # Kinds of keys apart join as one kind does.
    assert join(len(keys), [[own[:1] for own in keys], [own[1:] for own in keys]]) == join(
        len(keys), [[[("a", key) for key in own[:1]] + [("b", key) for key in own[1:]] for own in keys]]
    )


def test_faces_of_different_people_are_apart(shared: Path) -> None:
    table = read(shared / "data" / "smile" / "dataset.parquet")
    pictures = [decode(encoded.as_py()) for encoded in table.encoded[:3000]]
    result = clusters([[appearance(picture)] for picture in pictures if picture is not None])
    people = table.rows["person_id"][:3000].tolist()
    first = {cluster: people[cluster] for cluster in result}
    assert [first[cluster] for cluster in result] == people
