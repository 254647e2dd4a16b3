"""A search played on a table of recorded trainings, in simulated time: how samplers are judged.

Nothing trains: a trial's latency, its curve and the seconds that they took are those of the nearest recorded one.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pyarrow.lib import ArrowException

from whc.errors import UsageError, problem
from whc.records import CurvePoint, Latency, StudyRecord, TrialRecord
from whc.search.sampling.plan import Plan, PlannedTrial
from whc.search.sampling.warm_start import as_drawn
from whc.search.space import space
from whc.trials.run import Limits

Array = NDArray[np.float64]

MIN_IMPORTANCE = 0.02  # added to all, so that a parameter which explains nothing still decides between equal trainings


@dataclass(frozen=True)
class RecordedTraining:
    """A recorded training: its latency, curve, and the seconds before (export, timing) the curve."""

    latency: Latency
    curve: list[CurvePoint]
    before_s: float
    size_bytes: int
    params: int
    peak_memory_bytes: int


class TrainingTable:
    """Trainings recorded by a study: those of its trials that finished.

    Args:
        path: trials.parquet of that study.
        tree: the space to be replayed; what it could not draw is left out.

    Raises:
        UsageError: no such table, or none of its trials fits.
    """

    def __init__(self, path: Path, tree: space.Section) -> None:
        try:
            frame = pd.read_parquet(path)
            self.study = StudyRecord(**frame.attrs["study"])
            finished = frame[frame["state"] == "finished"]
            rows = [(json.loads(row["config"]), _recorded(row)) for _, row in finished.iterrows()]
        except (OSError, ArrowException, KeyError, TypeError, ValueError) as error:
            rule, reason = "must be the trials.parquet of a study", " ".join(str(error).split())[:80]
            raise UsageError(problem(f"--replay {path}", rule, reason, "give that of a finished study")) from error
        self._distributions = space.distributions(tree)
        self._trainings: list[tuple[dict[str, Any], RecordedTraining]] = []
        for config, recorded in rows:
            with suppress(ValueError):  # of another space
                self._trainings.append((as_drawn(tree, config), recorded))
        if not self._trainings:
            rule = "must hold finished trials that the space could draw, got none"
            raise UsageError(f"--replay {path}: {rule}; give the space that it was recorded with")
        self._words = np.array(
            [
                isinstance(distribution, CategoricalDistribution) and not _ordered(distribution)
                for distribution in self._distributions.values()
            ]
        )
        self._rows = np.array([self._row(drawn) for drawn, _ in self._trainings])
        self._weights = self._importances()

    def _row(self, drawn: Mapping[str, Any]) -> Array:
        """Where each parameter lies in its range, 0 to 1; NaN where it is not used."""
        return np.array(
            [
                _position(distribution, drawn[key]) if key in drawn else np.nan
                for key, distribution in self._distributions.items()
            ]
        )

    def _importances(self) -> Array:
        """How much of the differences in latency and score each parameter explains, by random forests.

        Without them a learning rate would count as much as a width, and the nearest training of a large network could
        be that of a small one.
        """
        from sklearn.ensemble import RandomForestRegressor

        trainings = [recorded for _, recorded in self._trainings]
        latency = np.log([recorded.latency.ms for recorded in trainings])
        scores = [max(point.val_score for point in recorded.curve) for recorded in trainings]
        rows = np.nan_to_num(self._rows, nan=-1.0)
        forests = [RandomForestRegressor(random_state=0).fit(rows, values) for values in (latency, scores)]
        return np.asarray(sum(forest.feature_importances_ for forest in forests) + MIN_IMPORTANCE)

    def __len__(self) -> int:
        return len(self._trainings)

    def nearest(self, drawn: Mapping[str, Any]) -> RecordedTraining:
        """The recorded training whose parameters differ least, each by 0 to 1 times its importance.

        Numbers differ by their places in the range. Two words differ by 1, and so does a parameter that only one of
        the two trainings uses.
        """
        row = self._row(drawn)
        differences = np.nan_to_num(np.abs(self._rows - row))
        differences[:, self._words] = differences[:, self._words] > 0
        differences[np.isnan(self._rows) != np.isnan(row)] = 1.0
        return self._trainings[int(np.argmin(differences @ self._weights))][1]


def _position(distribution: BaseDistribution, value: Any) -> float:
    """Where a value lies in its range, 0 to 1: words in the order in which the space names them."""
    if isinstance(distribution, CategoricalDistribution):
        order = sorted(distribution.choices) if _ordered(distribution) else distribution.choices  # type: ignore[type-var]
        return order.index(value) / max(len(order) - 1, 1)
    assert isinstance(distribution, FloatDistribution | IntDistribution)  # noqa: S101 (the three kinds there are)
    scale = math.log if distribution.log else float
    return (scale(value) - scale(distribution.low)) / ((scale(distribution.high) - scale(distribution.low)) or 1.0)


def _ordered(distribution: CategoricalDistribution) -> bool:
    return all(isinstance(choice, int | float) for choice in distribution.choices)


def _recorded(row: pd.Series[Any]) -> RecordedTraining:
    latency = Latency(**json.loads(row["latency"]))
    curve = [CurvePoint(**point) for point in json.loads(row["curve"])]
    if not curve:
        raise ValueError(f"trial {row['trial_id']}: curve is empty")
    counts = (int(row[name]) for name in ("size_bytes", "params", "peak_memory_bytes"))
    return RecordedTraining(latency, curve, float(row["before_s"]), *counts)


def replay(study: StudyRecord, tree: space.Section, table: TrainingTable) -> list[TrialRecord]:
    """Play a search to its end.

    Args:
        study: what to search, with how many workers, sampler and limits.
        tree: its compiled space.
        table: recorded trainings, which stand for real ones.

    Returns:
        The trials, each with the simulated seconds at which it ended, in that order.
    """
    now = 0.0
    plan = Plan(study, tree, None, lambda: now)
    plan.start()
    busy: list[tuple[float, str, TrialRecord]] = []
    while not plan.over:
        while len(busy) < study.workers and (trial := plan.next()) is not None:
            record = _answer(trial, study, table)
            seconds = record.before_s + sum(point.seconds for point in record.curve)
            heapq.heappush(busy, (now + seconds, record.trial_id, record))
        now, _, record = heapq.heappop(busy)
        plan.ended(record.model_copy(update={"elapsed_s": now}))
    return sorted(plan.records.values(), key=lambda record: record.elapsed_s)


def _answer(trial: PlannedTrial, study: StudyRecord, table: TrainingTable) -> TrialRecord:
    """The record that a worker would leave of a trial."""
    recorded, config = table.nearest(trial.drawn), trial.config
    exceeded = Limits(**study.limits).exceeded({**vars(recorded), "latency_ms": recorded.latency.ms})
    curve = [] if exceeded else _stretched(recorded.curve, config.training.epochs)
    return TrialRecord(
        trial_id=trial.trial_id,
        study=study.study,
        config=config.resolved(),
        config_hash="",
        drawn=trial.drawn,
        state="infeasible" if exceeded else "finished",
        reason=f"over {', '.join(exceeded)}" if exceeded else "",
        curve=curve,
        val_score=max((point.val_score for point in curve), default=None),
        latency=recorded.latency,
        size_bytes=recorded.size_bytes,
        params=recorded.params,
        peak_memory_bytes=recorded.peak_memory_bytes,
        before_s=recorded.before_s,
        seed=config.training.seed,
        data_fingerprint=study.data_fingerprint,
        code_version=study.code_version,
    )


def _stretched(curve: list[CurvePoint], epochs: int) -> list[CurvePoint]:
    """A recorded curve, drawn out or pressed together to a number of epochs."""
    scale = len(curve) / epochs
    return [
        curve[max(0, round(epoch * scale) - 1)].model_copy(update={"epoch": epoch}) for epoch in range(1, epochs + 1)
    ]
