"""Two sets of models on the same rows and in the same timing session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from whc.errors import StudyError
from whc.factory.evidence import interval
from whc.factory.measuring import Entry, Load, Side, load_all, measure, training_data
from whc.factory.scoring import read_rows
from whc.factory.unseen import trained_on
from whc.latency.timing import Protocol
from whc.plugins import Choice
from whc.records import Metric, StudyRecord


class ComparedModel(BaseModel):
    """One model of a comparison.

    `rival` is the other side's model that would be taken in its place: its best that is not slower, or its fastest.
    `gain` is how much more this one scores, with its paired 95 % interval; `certainty` is the share of resamples in
    which it scores more. `times_rival` is its latency over the rival's.
    """

    model_config = ConfigDict(frozen=True)

    side: str
    name: str
    path: str
    score: float
    score_low: float
    score_high: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    latency_ratio: float
    size_bytes: int
    rival: str
    gain: float
    gain_low: float
    gain_high: float
    certainty: float
    times_rival: float


class Comparison(BaseModel):
    """Two sides, fastest model first; `left_out` counts the rows that a side was trained on; scores are in `metric`."""

    model_config = ConfigDict(frozen=True)

    sides: dict[str, str]
    source: str
    split: str
    rows: int
    groups: int
    left_out: int
    metric: Metric
    floor_shown: str
    host: str
    noisy: bool
    models: list[ComparedModel]
    failed: dict[str, str]
    notes: list[str]


def compare(
    sides: Mapping[str, Side],
    load: Load,
    data: Path | None,
    split: str | None,
    runtime: Choice,
    protocol: Protocol,
    on_step: Callable[[str], None],
) -> Comparison:
    """Compare two sides on rows that neither was trained on.

    Args:
        sides: the two, by a short key.
        load: loads a file.
        data: Parquet file or folder of shards; None: the data of the first side with a study.
        split: whose rows; None: validation, or all where there is none.
        runtime: runs and times the files.
        protocol: how long to time.
        on_step: called with a line at each step.

    Raises:
        ArtifactError: no model of a side can be used.
        DataError: no rows remain.
        StudyError: no data are given and no side has a study.
    """
    loaded, failed = load_all(sides, load)
    models = [model for side in loaded.values() for model in side.values()]
    task = models[0].task
    on_step("reading the rows")
    rows = read_rows([data] if data else study_data(sides), models, split)
    is_left_out, notes = np.zeros(len(rows.is_known), bool), []
    for key, side in sides.items():
        training = training_data(side, task)
        if training is None:
            notes.append(f"{key}: its training data are not there, so rows that it was trained on may be among these")
        else:
            is_left_out |= trained_on(rows, training)
    rows = rows.without(is_left_out)
    measured = measure(loaded, rows, runtime, protocol, on_step)
    (first, ours), (second, theirs) = measured.entries.items()
    compared = [_compared(first, entry, theirs) for entry in ours]
    compared += [_compared(second, entry, ours) for entry in theirs]
    floor = task.floor(ours[0].scored.targets)
    return Comparison(
        sides={key: side.title for key, side in sides.items()},
        source=rows.source,
        split=rows.split,
        rows=len(measured.ends),
        groups=measured.groups,
        left_out=int(is_left_out.sum()),
        metric=task.metric,
        floor_shown=f"{task.words.floor} scores {task.metric.shown(floor)}",
        host=measured.session.host,
        noisy=measured.session.noisy,
        models=sorted(compared, key=lambda model: model.latency_ratio),
        failed={**failed, **measured.failed},
        notes=notes,
    )


def study_data(sides: Mapping[str, Side]) -> list[Path]:
    """The data files of the first side that has a study.

    Raises:
        StudyError: none has.
    """
    for side in sides.values():
        if side.study is not None and (side.study / "study.yaml").is_file():
            return StudyRecord.load(side.study).data_paths(side.study)
    titles = " and ".join(side.title for side in sides.values())
    raise StudyError(f"{titles}: one must be the ladder of a study, got none; name the rows with --data")


def _compared(key: str, entry: Entry, others: Sequence[Entry]) -> ComparedModel:
    rival, latency = entry.rival(others), entry.timed.latency
    gains = entry.gains_over(rival)
    low, high = interval(entry.draws)
    gain_low, gain_high = interval(gains)
    return ComparedModel(
        side=key,
        name=entry.name,
        path=entry.timed.path,
        score=entry.scored.score,
        score_low=low,
        score_high=high,
        latency_ms=latency.ms,
        latency_low_ms=latency.low_ms,
        latency_high_ms=latency.high_ms,
        latency_ratio=latency.ratio,
        size_bytes=entry.size_bytes,
        rival=rival.name,
        gain=entry.scored.score - rival.scored.score,
        gain_low=gain_low,
        gain_high=gain_high,
        certainty=float(np.nanmean(gains > 0)),
        times_rival=latency.ratio / rival.timed.latency.ratio,
    )
