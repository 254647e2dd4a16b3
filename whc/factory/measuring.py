"""Sets of models, scored on the same rows and timed in one session, so that any two can be compared in pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whc.data import dataset
from whc.errors import ArtifactError, StudyError, problem
from whc.factory.evidence import scores
from whc.factory.scoring import LabelledRows, Model, Scored, common_ends, score
from whc.latency.bench import session
from whc.latency.timing import Protocol
from whc.plugins import Choice, ChoiceOf
from whc.records import LadderTable, LatencySession, StudyRecord, TimedFile
from whc.tasks import Task
from whc.words import quantity

Load = Callable[[Path, "Model | None"], Model]
"""Loads a file; the second model says what a file without whc's metadata is like. Raises ArtifactError."""
LoadOn = Callable[[Choice], Load]
"""What loads files on a runtime."""

TABLE_FILE = "table.json"


@dataclass(frozen=True)
class Side:
    """One set of models: files by name, and the folder of the study that they come from, None if it is not there."""

    title: str
    files: Mapping[str, Path]
    study: Path | None = None


@dataclass(frozen=True)
class Entry:
    """A model with its score and latency, measured together with others."""

    name: str
    scored: Scored
    timed: TimedFile
    size_bytes: int

    @cached_property
    def draws(self) -> NDArray[np.float64]:
        """The score (draws,) on each resample of the groups, the same resamples for all entries."""
        return scores(self.scored.evidence)

    def gains_over(self, other: Entry) -> NDArray[np.float64]:
        """How much more it scores than another (draws,) on each resample."""
        return np.asarray(self.draws - other.draws)

    def is_slower_than(self, other: Entry) -> bool:
        """Whether it is slower, with intervals that are apart."""
        return self.timed.latency.ratio_low > other.timed.latency.ratio_high

    def rival(self, others: Sequence[Entry]) -> Entry:
        """The model to take in its place: the best of those that are not slower; the fastest where all are."""
        in_time = [other for other in others if not other.is_slower_than(self)]
        if not in_time:
            return min(others, key=lambda other: other.timed.latency.ratio)
        return max(in_time, key=lambda other: other.scored.score)


@dataclass(frozen=True)
class Measured:
    """Entries by side and name, the reason for each file without, and the session in which all were timed."""

    entries: Mapping[str, Sequence[Entry]]
    failed: Mapping[str, str]
    rows: LabelledRows
    session: LatencySession
    ends: NDArray[np.int64]

    @property
    def groups(self) -> int:
        """Number of people or clips among the rows."""
        return len(np.unique(self.rows.corpus.groups[self.ends]))


def runtime_of(table: LadderTable, folder: Path) -> Choice:
    """What runs the files of a ladder of the study in `folder`.

    Raises:
        StudyError: there is no runtime of that name, or its parameters are wrong.
    """
    if not table.runtime:
        return StudyRecord.load(folder).chosen_runtime
    try:
        return ChoiceOf("runtimes").parse(table.runtime)
    except ValueError as error:
        raise StudyError(f"{folder / TABLE_FILE}: runtime: {error}") from error


def ladder_side(table: LadderTable, folder: Path) -> Side:
    """A ladder of the study in `folder`.

    Raises:
        StudyError: the study lacks a file of it.
    """
    files = {row.name: folder / row.file for row in table.variants}
    for name, path in files.items():
        if not path.is_file():
            next_step = f"build the table again with `whc factory build-table --study {table.study}`"
            raise StudyError(problem(str(folder), f"must hold the file of {name}", str(path), next_step))
    return Side(f"ladder of {table.study}", files, folder)


def training_data(side: Side, task: Task) -> dataset.Table | None:
    """The data set that a side was trained on; None if its study or data are not there, or have changed."""
    if side.study is None or not (side.study / "study.yaml").is_file():
        return None
    study = StudyRecord.load(side.study)
    paths = study.data_paths(side.study)
    if not all(path.exists() for path in paths):
        return None
    table = dataset.read(paths, type(task), is_labelled=False)
    return table if table.fingerprint == study.data_fingerprint else None


def load_all(sides: Mapping[str, Side], load: Load) -> tuple[dict[str, dict[str, Model]], dict[str, str]]:
    """The models of all sides that can be loaded and answer the same question, and the reasons for the others.

    Raises:
        ArtifactError: no model of a side is left.
    """
    loaded: dict[str, dict[str, Model]] = {}
    failed: dict[str, str] = {}
    first: Model | None = None
    for key, side in sides.items():
        loaded[key] = {}
        for name, path in side.files.items():
            try:
                model = load(path, first)
                first = first or model
                _require_same_task(model, first)
                loaded[key][name] = model
            except ArtifactError as error:
                failed[f"{key} {name}"] = str(error)
        if not loaded[key]:
            raise ArtifactError("\n".join(reason for name, reason in failed.items() if name.startswith(f"{key} ")))
    return loaded, failed


def _require_same_task(model: Model, first: Model) -> None:
    ours, theirs = ((each.metadata.task, each.metadata.labels) for each in (model, first))
    if ours != theirs:
        rule = f"must be of the task and labels of {first.path.name}, {theirs[0]} of {theirs[1]}"
        raise ArtifactError(problem(str(model.path), rule, f"{ours[0]} of {ours[1]}", "compare it with its like"))


def measure(
    loaded: Mapping[str, Mapping[str, Model]],
    rows: LabelledRows,
    runtime: Choice,
    protocol: Protocol,
    on_step: Callable[[str], None],
) -> Measured:
    """Score models on the rows common to all, and time them all in one session.

    Raises:
        ArtifactError: no model of a side runs.
        DataError: no row is common to all.
    """
    ends = common_ends([model for models in loaded.values() for model in models.values()], rows)
    scored: dict[tuple[str, str], tuple[Model, Scored]] = {}
    failed: dict[str, str] = {}
    for key, models in loaded.items():
        for name, model in models.items():
            on_step(f"scoring {name}")
            try:
                scored[key, name] = model, score(model, rows, ends)
            except ArtifactError as error:
                failed[f"{key} {name}"] = str(error)
    on_step(f"timing {quantity(len(scored), 'model')}, interleaved")
    timed = session([model.path for model, _ in scored.values()], runtime, protocol)
    # By path, as a failed file is not in the list; a file that both sides have is timed twice.
    latencies: dict[str, list[TimedFile]] = {}
    for file in timed.files:
        latencies.setdefault(file.path, []).append(file)
    reasons = {file.path: file.reason for file in timed.failed}
    entries: dict[str, list[Entry]] = {key: [] for key in loaded}
    for (key, name), (model, result) in scored.items():
        path = str(model.path)
        if latencies.get(path):
            entries[key].append(Entry(name, result, latencies[path].pop(0), model.path.stat().st_size))
        else:
            failed[f"{key} {name}"] = reasons[path]
    for key, side in entries.items():
        side.sort(key=lambda entry: entry.timed.latency.ratio)
        if not side:
            raise ArtifactError("\n".join(reason for name, reason in failed.items() if name.startswith(f"{key} ")))
    return Measured(entries, failed, rows, timed, ends)
