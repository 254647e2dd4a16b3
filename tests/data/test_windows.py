"""Laws of windows: they stay within clips and splits, follow time, and none is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.data.dataset import SPLIT_NAMES, Corpus
from whc.data.row_labels import RowLabels
from whc.data.windows import windows
from whc.errors import DataError


def corpus(clips: list[tuple[int, int]], seed: int) -> Corpus:
    """Clips given as (split, length), their rows shuffled; timestamps leave gaps, classes change within clips."""
    rng = np.random.default_rng(seed)
    rows = [(split, clip, 3 * frame + clip) for clip, (split, length) in enumerate(clips) for frame in range(length)]
    splits, numbers, times = rng.permutation(np.array(rows, np.int64).reshape(-1, 3)).T
    class_ids = rng.integers(0, 2, len(rows))
    return Corpus(
        images={},
        labelled=RowLabels(class_ids, ("no", "yes"), class_ids, ("no", "yes")),
        needs_every_stratum=False,
        splits=splits,
        clips=numbers,
        groups=numbers,
        timestamps=times,
        row_numbers=np.arange(len(times)),
        frame_rate=None,
        fingerprint="",
    )


CORPORA = st.builds(
    corpus, st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), min_size=1, max_size=8), st.integers(0, 99)
)


@given(CORPORA, st.sampled_from(SPLIT_NAMES), st.integers(1, 6))
def test_windows_stay_in_their_clip_follow_time_and_are_complete(data: Corpus, split: str, frames: int) -> None:
    code = SPLIT_NAMES.index(split)
    lengths = np.bincount(data.clips[data.splits == code])
    expected = int(np.maximum(lengths - frames + 1, 0).sum())
    if expected == 0 and frames > 1:
        with pytest.raises(DataError, match="use fewer frames"):
            windows(data, split, frames)
        return
    found = windows(data, split, frames)
    assert found.index.shape == (expected, frames)
    assert (data.splits[found.index] == code).all()
    assert (data.clips[found.index] == data.clips[found.index[:, :1]]).all()
    # In these clips, one frame follows another by 3.
    assert (np.diff(data.timestamps[found.index], axis=1) == 3).all()
    assert len(np.unique(found.index, axis=0)) == expected
    np.testing.assert_array_equal(found.targets, data.targets[found.index[:, -1]])


def test_a_clip_that_lies_in_two_splits_gives_windows_in_neither_across() -> None:
    data = corpus([(0, 4)], 0)
    data.splits[data.timestamps >= 6] = 1
    for split in ("train", "val"):
        assert len(windows(data, split, 2).index) == 1
        with pytest.raises(DataError):
            windows(data, split, 3)


def test_frames_without_an_order_are_refused_for_windows_only() -> None:
    data = corpus([(0, 5)], 0)
    data.timestamps[:] = 0
    assert len(windows(data, "train", 1).index) == 5
    with pytest.raises(DataError, match="distinct timestamps") as caught:
        windows(data, "train", 2)
    assert "\n" not in str(caught.value)


def test_every_class_needs_a_clip_that_is_long_enough() -> None:
    data = replace(corpus([(0, 5), (0, 3)], 0), needs_every_stratum=True)
    data.strata[:] = data.clips  # the shorter clip is the only one of its class
    assert set(windows(data, "train", 3).targets.tolist()) == {0, 1}
    with pytest.raises(DataError, match="at least 4 frames, 'yes' has none, got \\[0\\]; use fewer frames"):
        windows(data, "train", 4)
