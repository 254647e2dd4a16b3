"""Windows of consecutive frames, as index arrays into a corpus, without copies of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whc.data.dataset import SPLIT_NAMES, UNLABELLED, Corpus
from whc.errors import DataError, problem


@dataclass(frozen=True)
class Windows:
    """M windows of T frames: `index` (M, T) holds row numbers, oldest first.

    `targets` (M, ...) and `strata` (M,) are those of each last frame.
    """

    index: NDArray[np.int64]
    targets: NDArray[Any]
    strata: NDArray[np.int64]


def windows(corpus: Corpus, split: str, frames: int) -> Windows:
    """Windows of `frames` frames that slide by one over each clip of a split; single rows when `frames` is 1.

    Raises:
        DataError: no clip of some stratum that the task needs is long enough, or the frames of a clip have no order.
    """
    index = _index(corpus, np.flatnonzero(corpus.splits == SPLIT_NAMES.index(split)), f"split {split!r}", frames)
    ends = index[:, -1]
    result = Windows(index, corpus.targets[ends], corpus.strata[ends])
    if frames == 1:
        return result
    present = set(result.strata.tolist())
    for stratum, name in enumerate(corpus.labelled.strata_names if corpus.needs_every_stratum else ()):
        if stratum not in present:
            rule = f"every class must have a clip of at least {frames} frames, {name!r} has none"
            raise DataError(problem(f"split {split!r}", rule, sorted(present), "use fewer frames"))
    return result


def unlabelled_windows(corpus: Corpus, frames: int) -> Windows | None:
    """Windows of the pictures without labels, whose targets mean nothing; None where there are no such pictures.

    Raises:
        DataError: no clip of them is long enough, or the frames of a clip have no order.
    """
    rows = np.flatnonzero(corpus.splits == UNLABELLED)
    if not len(rows):
        return None
    index = _index(corpus, rows, "pictures without labels", frames)
    return Windows(index, corpus.targets[index[:, -1]], corpus.strata[index[:, -1]])


def _index(corpus: Corpus, rows: NDArray[np.int64], where: str, frames: int) -> NDArray[np.int64]:
    """Row numbers (M, T) of the windows within some rows."""
    if frames == 1:
        return rows[:, None]
    order = rows[np.lexsort((corpus.timestamps[rows], corpus.clips[rows]))]
    clips, times = corpus.clips[order], corpus.timestamps[order]
    if np.any((clips[1:] == clips[:-1]) & (times[1:] == times[:-1])):
        rule = f"frames of one video_id must have distinct timestamps for windows of {frames} frames"
        raise DataError(f"{where}: {rule}, got some twice; use `sequence: none` for stills")
    starts = np.arange(len(order) - frames + 1)
    starts = starts[clips[starts] == clips[starts + frames - 1]] if len(starts) else starts
    if not len(starts):
        raise DataError(f"{where}: must have a clip of at least {frames} frames, got none; use fewer frames")
    index: NDArray[np.int64] = order[starts[:, None] + np.arange(frames)]
    return index
