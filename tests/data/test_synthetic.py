"""Rendered clips: the same each time, without leaks, and told by several frames but not by one."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from whc.data import dataset, synthetic
from whc.data import report as reports
from whc.data.dataset import SPLIT_NAMES
from whc.data.windows import windows
from whc.errors import UsageError
from whc.tasks.classification import Classification, Config

TASK_OF_CLIPS = Classification(("still", "waving"), Config())
inspect = partial(reports.inspect, task=Classification)
load = partial(dataset.load, task=Classification)

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.render(tmp_path_factory.mktemp("default"))


@pytest.fixture(scope="module")
def corpus(rendered: Path) -> dataset.Corpus:
    return load(rendered, [(10, 10), (24, 24)])


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    first, again, other = (
        synthetic.render(tmp_path / str(i), 9, seed).read_bytes() for i, seed in enumerate((3, 3, 4))
    )
    assert first == again
    assert first != other
    assert [file.name for file in (tmp_path / "0").iterdir()] == ["dataset.parquet"]


def test_progress_is_told_clip_by_clip(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    synthetic.render(tmp_path, 6, on_progress=lambda done, count: seen.append((done, count)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_the_default_has_all_motions_in_all_splits_and_leaks_nothing(rendered: Path) -> None:
    report = inspect(rendered)
    assert report.labels == ["no_waving_hand", "waving_hand"]
    assert report.frame_rate == synthetic.FRAME_RATE
    assert report.sizes == {"48x48": report.rows}
    assert report.unreadable.count == 0
    assert [report.splits[split].clips for split in SPLIT_NAMES] == [392, 84, 84]
    assert report.leaks.people.count == report.leaks.clips.count == report.leaks.images.count == 0
    rows = pq.read_table(rendered).to_pandas()
    for _, split in rows.groupby("split"):
        assert set(split["motion"]) == set(synthetic.MOTION_KINDS)
        assert 0.4 <= split["class_id"].mean() <= 0.5
    assert ((rows["motion"] == "waving") == (rows["class_id"] == 1)).all()
    for _, clip in rows.groupby("video_id"):
        assert clip["timestamp"].tolist() == list(range(len(clip)))
        assert 12 <= len(clip) <= 16


@pytest.mark.parametrize("clips", [6, 7, 11, 18, 20, 23])
def test_few_clips_still_make_a_data_set(tmp_path: Path, clips: int) -> None:
    path = synthetic.render(tmp_path, clips)
    corpus = load(path, [(8, 8)])
    assert len(np.unique(corpus.clips)) == clips
    report = inspect(path)
    assert report.leaks.people.count == report.leaks.clips.count == report.leaks.images.count == 0
    if clips >= 18:
        motions = pq.read_table(path).to_pandas().groupby("split")["motion"].nunique()
        assert (motions == len(synthetic.MOTION_KINDS)).all()


@pytest.mark.parametrize(("arguments", "told"), [({"clips": 5}, "--clips"), ({"seed": -1}, "--seed")])
def test_what_cannot_be_rendered_is_a_usage_error(tmp_path: Path, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        synthetic.render(tmp_path, **arguments)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file"):
        synthetic.render(tmp_path / "file", 6)


@pytest.mark.parametrize("motion", synthetic.MOTION_KINDS)
def test_a_clip_of_any_size(motion: synthetic.Motion) -> None:
    film = synthetic.clip(0, motion, 3, (60, 80))
    assert film.shape == (3, 60, 80, 3)
    assert film.dtype == np.uint8
    np.testing.assert_array_equal(film, synthetic.clip(0, motion, 3, (60, 80)))
    assert not np.array_equal(film, synthetic.clip(1, motion, 3, (60, 80)))


def ridge(features: Floats, class_ids: NDArray[np.int64], fit: NDArray[np.bool_]) -> Floats:
    """Probability-like scores of all rows from a linear fit on some: the least that a network could do."""
    mean, spread = features[fit].mean(0), features[fit].std(0) + 1e-9
    inputs = np.c_[(features - mean) / spread, np.ones(len(features))]
    normal = inputs[fit].T @ inputs[fit] + 0.01 * fit.sum() * np.eye(inputs.shape[1])
    return np.asarray(inputs @ np.linalg.solve(normal, inputs[fit].T @ class_ids[fit]))


def auc(scores: Floats, class_ids: NDArray[np.int64]) -> float:
    """Chance that a positive scores higher than a negative, 0..1; 0.5 is guessing."""
    positives, negatives = scores[class_ids == 1], scores[class_ids == 0]
    return float((positives[:, None] > negatives).mean())


def test_one_frame_does_not_tell_waving(corpus: dataset.Corpus) -> None:
    grey = corpus.images[24, 24].mean(-1)
    edges = np.hypot(*np.gradient(grey, axis=(1, 2)))
    features = np.concatenate((grey[:, ::2, ::2].reshape(len(grey), -1), edges[:, ::2, ::2].reshape(len(grey), -1)), 1)
    fit = corpus.splits == 0
    scores = ridge(features, corpus.targets, fit)
    held_out = corpus.targets[~fit]
    assert auc(scores[fit], corpus.targets[fit]) > 0.7  # it has learned train by heart
    assert auc(scores[~fit], held_out) == pytest.approx(0.5, abs=0.08)
    assert TASK_OF_CLIPS.judge(scores[~fit], held_out).score() < TASK_OF_CLIPS.floor(held_out)


def test_one_pose_is_as_likely_for_every_motion() -> None:
    poses = {
        motion: np.concatenate([list(synthetic._poses(motion, 14, np.random.default_rng(i))) for i in range(1500)])
        for motion in synthetic.MOTION_KINDS
    }
    for values in poses.values():
        for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
            cut = np.quantile(np.concatenate(list(poses.values())), quantile, axis=0)
            assert (values <= cut).mean(0) == pytest.approx(quantile, abs=0.04)


def flows(images: NDArray[np.uint8]) -> Floats:
    """Sideways motion from each image to the next in pixels, averaged where anything moves: upper and lower half."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    result = []
    for before, after in pairwise(grey):
        sideways = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 2, 9, 2, 5, 1.1, 0)[..., 0]
        result.append([(half * np.abs(half)).sum() / (np.abs(half).sum() + 1) for half in np.split(sideways, 2)])
    return np.array(result)


def waving_scores(corpus: dataset.Corpus, size: int, frames: int) -> tuple[Floats, NDArray[np.int64]]:
    """What a linear fit on the optical flow of training clips says of the windows of the others, and their classes."""
    motion = flows(corpus.images[size, size])
    fits, scores, truth = [], [], []
    for split in SPLIT_NAMES:
        result = windows(corpus, split, frames)
        # Frames of a clip follow each other in the file, so row i of `motion` leads from frame i to i + 1.
        steps = motion[result.index[:, :-1]]
        features = np.concatenate((np.abs(steps).mean(1), steps.std(1), np.abs(steps.mean(1)), np.abs(steps).min(1)), 1)
        scores.append(np.log(features + 0.01))
        truth.append(result.targets)
        fits.append(np.full(len(features), split == "train"))
    fit, class_ids = np.concatenate(fits), np.concatenate(truth)
    return ridge(np.concatenate(scores), class_ids, fit)[~fit], class_ids[~fit]


def test_several_frames_tell_waving(corpus: dataset.Corpus) -> None:
    scores, class_ids = waving_scores(corpus, 24, 5)
    assert auc(scores, class_ids) > 0.95
    assert TASK_OF_CLIPS.judge(scores, class_ids).score() > max(0.85, TASK_OF_CLIPS.floor(class_ids))


def test_more_frames_and_pixels_tell_more(corpus: dataset.Corpus) -> None:
    """So that a ladder has steps: a clip may need both, as its hand may be far, hidden in part, or swing little."""
    best = auc(*waving_scores(corpus, 24, 6))
    assert best > auc(*waving_scores(corpus, 24, 3)) + 0.005
    assert best > auc(*waving_scores(corpus, 10, 6)) + 0.005


@pytest.mark.parametrize("seed", range(3))
def test_hands_are_near_and_far_and_some_are_covered(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A covered clip differs from the same clip without its cover in a part of each frame, and always there."""
    film = synthetic.clip(seed, "waving", 4).astype(np.int64)
    monkeypatch.setattr(synthetic, "_COVERED_SHARE", 1)
    covered = synthetic.clip(seed, "waving", 4).astype(np.int64)
    monkeypatch.setattr(synthetic, "_COVERED_SHARE", 0)
    plain = synthetic.clip(seed, "waving", 4).astype(np.int64)
    assert any(np.array_equal(film, other) for other in (covered, plain))
    changed = (covered != plain).any((1, 2, 3))
    assert changed.all()
    assert 0.02 < (covered != plain).any(3).mean() < 0.7
    monkeypatch.setattr(synthetic, "_DISTANCES", (3, 3))
    far = synthetic.clip(seed, "waving", 4).astype(np.int64)
    assert np.abs(np.diff(far, axis=0)).sum() < 0.9 * np.abs(np.diff(plain, axis=0)).sum()
