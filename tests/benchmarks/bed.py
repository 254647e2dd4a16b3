"""A test bed for ways of searching: trainings of a surrogate in place of real ones, in as many worlds as are wanted.

The surrogate learns from recorded trainings: whole curves of the score, latency, seconds. A world is a surrogate that
saw a bootstrap sample of them, so that what is best differs from world to world (Eggensperger et al. 2015, "Efficient
Benchmarking of Hyperparameter Optimizers via Surrogates"). Each training also differs from what the world expects: by
what the surrogate could not predict (which another seed would show again), and by the noise of seeds.

recorded/bed_smile.parquet joins two machines: the latencies and the seconds of the slower one are divided by 3.22 and
1.80, the median ratios of the ten networks that both have trained. recorded/bed_head_pose.parquet has the latencies of
one interleaved session, and the seconds of an epoch from three epochs on a machine that did nothing else.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.trial import FixedTrial
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.feature_extraction import DictVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from whc.records import CurvePoint, Latency, StudyRecord
from whc.search.running import study as studies
from whc.search.running.replay import RecordedTraining
from whc.search.sampling.limits import Sample
from whc.search.space import space
from whc.trials.config import TrialConfig

Array = NDArray[np.float64]

SPACES = Path(__file__).parents[2] / "search_spaces"
RECORDED = Path(__file__).parent / "recorded"
FOLDS = 10
TREES = 100


def unfolded(scores: Array) -> Array:
    """Scores on a scale on which halving the error is always one step."""
    return -np.log(1 - np.minimum(scores, 0.999))


class Surrogate:
    """Whole rows of values from what was drawn: the mean of extremely random trees and of a Gaussian process.

    Trees find what depends on combinations of choices, the process what grows evenly; each errs where the other does
    not. Another model than any sampler's, so that none of them is at home.
    """

    def __init__(self, seed: int) -> None:
        kernel = ConstantKernel() * RBF(3.0) + ConstantKernel() * DotProduct() + WhiteKernel(0.1)
        self._trees = ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=seed)
        self._process = make_pipeline(
            StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
        )

    def fit(self, rows: Array, values: Array) -> Surrogate:
        self._trees.fit(rows, values)
        self._process.fit(rows, values)
        return self

    def predict(self, rows: Array) -> Array:
        return 0.5 * (self._trees.predict(rows) + self._process.predict(rows))


class Bed:
    """Recorded trainings of a space, and the errors that a surrogate makes on those that it has not seen.

    Args:
        tree: the space.
        path: trainings, as recorded/record.py writes them.
        labels: of the data.
    """

    def __init__(self, tree: space.Section, path: Path, labels: tuple[str, ...]) -> None:
        self.tree, self.labels = tree, labels
        frame = pd.read_parquet(path)
        frame["drawn_key"] = frame["drawn"]
        for name in ("drawn", "curve", "seconds"):
            frame[name] = frame[name].map(json.loads)
        self.frame = frame
        self._vectorizer = DictVectorizer(sparse=False).fit(list(map(self.features, frame["drawn"])))
        networks = frame.groupby("drawn_key", sort=True)
        self.networks = networks.first()
        self.rows = self.row_of(list(self.networks["drawn"]))
        self.scores = np.array([unfolded(_best_so_far(group)).mean(axis=0) for _, group in networks])
        self.costs = np.log(
            np.column_stack([self.networks["latency_ms"], self.networks["seconds"].map(min), self.networks["before_s"]])
        )
        self.epochs = self.scores.shape[1]
        repeats = [unfolded(_best_so_far(group)) for _, group in networks if len(group) > 1]
        # The mean of n values takes a share of 1 / n of their noise with it.
        self.seed_noise = np.concatenate(
            [(scores - scores.mean(axis=0)) * np.sqrt(len(scores) / (len(scores) - 1)) for scores in repeats]
        )
        self.predicted = np.zeros_like(self.scores), np.zeros_like(self.costs)
        for seen, unseen in KFold(FOLDS, shuffle=True, random_state=0).split(self.rows):
            for known, out in zip((self.scores, self.costs), self.predicted, strict=True):
                out[unseen] = Surrogate(0).fit(self.rows[seen], known[seen]).predict(self.rows[unseen])
        errors = self.scores - self.predicted[0]
        seeds = self.seed_noise[:, -1].var() / errors[:, -1].var()
        self.deviations = np.sqrt(max(0.0, 1 - seeds)) * (errors - errors.mean(axis=0))

    def row_of(self, draws: list[Mapping[str, Any]]) -> Array:
        return np.asarray(self._vectorizer.transform([self.features(drawn) for drawn in draws]))

    def features(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """What was drawn, numbers as logarithms, and what can be counted without training."""
        sample = self.sample(json.dumps(drawn, sort_keys=True))
        counted = {"params": np.log(sample.params), "memory": np.log(sample.peak_memory_bytes)}
        numbers = {
            key: np.log(value + 1e-4) if isinstance(value, float) else np.log(value + 1)
            for key, value in drawn.items()
            if not isinstance(value, str)
        }
        return {**drawn, **numbers, **counted}

    @functools.cache  # noqa: B019 (a bed lives as long as its benchmark)
    def sample(self, drawn: str) -> Sample:
        config = TrialConfig.model_validate(space.suggest(self.tree, FixedTrial(json.loads(drawn))))
        return Sample(config, json.loads(drawn), config.task_for(self.labels).outputs)

    def accuracy(self) -> dict[str, float]:
        """Spearman's correlation of what is predicted for unseen trainings with what they came to."""
        scores, costs = self.predicted
        pairs = {
            "score": (scores[:, -1], self.scores[:, -1]),
            "latency": (costs[:, 0], self.costs[:, 0]),
            "seconds": (costs[:, 1], self.costs[:, 1]),
        }
        return {name: float(spearmanr(*pair).statistic) for name, pair in pairs.items()}


def _best_so_far(group: pd.DataFrame) -> Array:
    return np.maximum.accumulate(np.array(list(group["curve"])), axis=1)


class World:
    """Stands for real trainings; `nearest` is what the replay asks, the same each time it is asked.

    Args:
        bed: what it is made of.
        seed: a world of its own for each.
    """

    def __init__(self, bed: Bed, seed: int) -> None:
        self._bed, self._seed = bed, seed
        rng = np.random.default_rng(seed)
        chosen = rng.integers(len(bed.rows), size=len(bed.rows))
        self._scores = Surrogate(seed).fit(bed.rows[chosen], bed.scores[chosen])
        self._costs = Surrogate(seed).fit(bed.rows[chosen], bed.costs[chosen])
        self._known: dict[str, tuple[float, RecordedTraining]] = {}

    def nearest(self, drawn: Mapping[str, Any]) -> RecordedTraining:
        """The training of what was drawn."""
        return self._training(drawn)[1]

    def settled_score(self, drawn: Mapping[str, Any]) -> float:
        """The score of a whole training without the noise of its seed: what another seed can be expected to reach."""
        return self._training(drawn)[0]

    def _training(self, drawn: Mapping[str, Any]) -> tuple[float, RecordedTraining]:
        key = json.dumps(drawn, sort_keys=True)
        if key not in self._known:
            bed = self._bed
            rng = np.random.default_rng([self._seed, zlib.crc32(key.encode())])
            row = bed.row_of([drawn])
            settled = self._scores.predict(row)[0] + bed.deviations[rng.integers(len(bed.deviations))]
            noisy = settled + bed.seed_noise[rng.integers(len(bed.seed_noise))]
            latency_ms, epoch_s, before_s = map(float, np.exp(self._costs.predict(row)[0]))
            scores = np.clip(1 - np.exp(-np.maximum.accumulate(noisy)), 0, 1)
            curve = [
                CurvePoint(epoch=epoch, val_score=float(score), seconds=epoch_s)
                for epoch, score in enumerate(scores, start=1)
            ]
            sample = bed.sample(key)
            counts = (sample.size_bytes, sample.params, sample.peak_memory_bytes)
            training = RecordedTraining(_latency(latency_ms), curve, before_s, *counts)
            self._known[key] = float(np.clip(1 - np.exp(-settled.max()), 0, 1)), training
        return self._known[key]


def _latency(ms: float) -> Latency:
    fixed = {"p90_ms": ms, "p99_ms": ms, "runtime": "onnxruntime_cpu", "threads": 1, "host": "surrogate"}
    return Latency(ms=ms, low_ms=ms, high_ms=ms, ratio=ms, **fixed)


@dataclass(frozen=True)
class Case:
    """A search file, trainings of its space, and what they say of their data: labels, and the floor."""

    space: str
    trainings: str
    labels: tuple[str, ...]
    floor: float

    def opened(self) -> tuple[StudyRecord, Bed]:
        """A study as `whc search` would begin it, and the bed that stands for its trainings."""
        settings, tree = studies.read(SPACES / self.space)
        facts = {"data_fingerprint": "", "reference_ms": 0.024, "host": "", "floor": self.floor, "labels": self.labels}
        study = studies.begin(settings, "bench", ["bench"], facts)
        return study, Bed(tree, RECORDED / self.trainings, self.labels)


BEDS = {
    "smile": Case("smile.yaml", "bed_smile.parquet", ("no", "yes"), 0.46199),
    "head_pose": Case("head_pose.yaml", "bed_head_pose.parquet", (), 0.78932),
}
