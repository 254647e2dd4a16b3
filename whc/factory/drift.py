"""Whether a ladder still is what its table says: the same files, scores and latencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist

from pydantic import BaseModel, ConfigDict

from whc import records
from whc.errors import ArtifactError, StudyError, problem
from whc.export.parity import ParityLimits
from whc.factory.measuring import TABLE_FILE, Load, LoadOn, runtime_of
from whc.factory.scoring import Model, read_rows, score
from whc.latency.host import host
from whc.latency.idle import MAX_IDLE_RATIO
from whc.plugins import Choice
from whc.records import LadderTable, LatencySession, StudyRecord, VariantRow
from whc.words import quantity

MIN_CHANGE = 0.05  # a smaller change of latency is no drift, however sure
CONFIDENCE = 0.95  # of all variants together

TimeFiles = Callable[[Sequence[Path], Choice], LatencySession]
"""Times files against each other on a runtime, as `whc.latency.bench.session`."""


class Drift(BaseModel):
    """One thing that is no longer as recorded; `kind` is hash, labels, score, latency, order or file."""

    model_config = ConfigDict(frozen=True)

    variant: str
    kind: str
    words: str


class Checked(BaseModel):
    """The result of a check; `notes` say what was not judged."""

    model_config = ConfigDict(frozen=True)

    study: str
    variants: int
    drifts: list[Drift]
    notes: list[str]


@dataclass(frozen=True)
class _Interval:
    """A latency's ratio to the reference network."""

    value: float
    low: float
    high: float

    def is_above(self, other: _Interval) -> bool:
        return self.low > other.high

    def widened(self, factor: float) -> _Interval:
        """The same interval with that many times its width on a log scale."""
        low, high = ((self.value * (end / self.value) ** factor) for end in (self.low, self.high))
        return _Interval(self.value, low, high)


def check(folder: Path, load_on: LoadOn, time_files: TimeFiles, on_step: Callable[[str], None]) -> Checked:
    """Compare the ladders of a study with its table.

    Args:
        folder: the study's folder.
        load_on: gives what loads files on a runtime.
        time_files: times the files.
        on_step: called with a line at each step.

    Raises:
        StudyError: there is no ladder, or the files cannot be timed.
        DataError: the data are gone or have changed.
    """
    table = records.load(LadderTable, folder / TABLE_FILE, "build it with `whc factory build-table`")
    checked = [_check(ladder, folder, load_on, time_files, on_step) for ladder in table.ladders]
    return Checked(
        study=table.study,
        variants=sum(len(ladder.variants) for ladder in table.ladders),
        drifts=[drift for drifts, _ in checked for drift in drifts],
        notes=list(dict.fromkeys(note for _, notes in checked for note in notes)),
    )


def _check(
    table: LadderTable, folder: Path, load_on: LoadOn, time_files: TimeFiles, on_step: Callable[[str], None]
) -> tuple[list[Drift], list[str]]:
    """What is no longer as recorded in one ladder, and what was not judged."""
    drifts: list[Drift] = []
    notes: list[str] = []
    runtime = runtime_of(table, folder)
    load = load_on(runtime)
    on_step("reading the files")
    models: dict[str, Model] = {}
    for row in table.variants:
        found = _file_drift(row, table, folder, load, models)
        drifts += [found] if found else []
    if unhashed := [row.name for row in table.variants if not row.sha256]:
        notes.append(f"hashes of {', '.join(unhashed)} are not judged: the table is of an older version without them")
    if models:
        on_step("scoring the files")
        drifts += _score_drifts(table, folder, models)
        latency_drifts, latency_notes = _latency_drifts(table, models, runtime, time_files, on_step)
        drifts, notes = drifts + latency_drifts, notes + latency_notes
    return drifts, notes


def _file_drift(
    row: VariantRow, table: LadderTable, folder: Path, load: Load, models: dict[str, Model]
) -> Drift | None:
    """What is wrong with a file; one that is as recorded, or has no recorded hash, joins the `models`."""
    path = folder / row.file
    rebuild = f"`whc factory build-table --study {table.study}` writes it again"
    if not path.is_file():
        return Drift(variant=row.name, kind="file", words=f"{path} is missing; {rebuild}")
    try:
        model = load(path, None)
    except ArtifactError as error:
        return Drift(variant=row.name, kind="file", words=str(error))
    ours = (model.metadata.task, model.metadata.labels)
    if ours != (table.task, table.labels):
        words = f"the file's labels are {ours[1]} of {ours[0]}, the table's {table.labels} of {table.task}"
        return Drift(variant=row.name, kind="labels", words=words)
    models[row.name] = model
    digest = records.sha256(path)
    if row.sha256 and digest != row.sha256:
        words = f"{path} is another file: its hash is {digest[:12]}, recorded was {row.sha256[:12]}; {rebuild}"
        return Drift(variant=row.name, kind="hash", words=words)
    return None


def _score_drifts(table: LadderTable, folder: Path, models: Mapping[str, Model]) -> list[Drift]:
    """Variants that no longer score what the table says: on test, or on validation where there is no test split."""
    paths = StudyRecord.load(folder).data_paths(folder)
    split = "test" if table.test_split else "val"
    rows = read_rows(paths, list(models.values()), split)
    if rows.table.fingerprint != table.data_fingerprint:
        rule = f"must be the data set of the ladder ({table.data_fingerprint})"
        raise StudyError(problem(rows.source, rule, rows.table.fingerprint, "put that file back"))
    frames = table.val_frames or max(model.metadata.frames for model in models.values())
    drifts, limit = [], ParityLimits().max_score_difference
    for row in table.variants:
        if row.name not in models:
            continue
        recorded = row.score if table.test_split else row.val_score
        ends = None if table.test_split else rows.ends(frames)
        again = score(models[row.name], rows, ends).score
        if recorded is None or not abs(again - recorded) <= limit:
            shown = "none" if recorded is None else table.metric.shown(recorded)
            words = f"{split} score is {table.metric.shown(again)}, recorded was {shown}"
            drifts.append(Drift(variant=row.name, kind="score", words=words))
    return drifts


def _latency_drifts(
    table: LadderTable,
    models: Mapping[str, Model],
    runtime: Choice,
    time_files: TimeFiles,
    on_step: Callable[[str], None],
) -> tuple[list[Drift], list[str]]:
    """Variants that became slower or faster, or changed places; and why latencies are not judged."""
    if table.host != host():
        return [], [f"latencies are not judged: they were measured on {table.host}, this is {host()}"]
    if (theirs := {row.runtime for row in table.variants}) != {runtime.name}:
        return [], [
            f"latencies are not judged: they are of {', '.join(sorted(theirs))}, the study's runtime is {runtime.name}"
        ]
    rows = [row for row in table.variants if row.name in models and row.latency_ratio is not None]
    if not rows:
        return [], ["latencies are not judged: the table has no ratios to the reference network"]
    on_step(f"timing {quantity(len(rows), 'file')}, interleaved")
    paths = [models[row.name].path for row in rows]
    drifts, note = _timed_drifts(rows, models, time_files(paths, runtime))
    if drifts:
        on_step("timing the files again, as a drift must show twice")
        confirmed, note = _timed_drifts(rows, models, time_files(paths, runtime))
        seen = {(drift.variant, drift.kind) for drift in confirmed}
        drifts = [drift for drift in drifts if (drift.variant, drift.kind) in seen]
    return drifts, [note] if note else []


def _timed_drifts(
    rows: Sequence[VariantRow], models: Mapping[str, Model], timed: LatencySession
) -> tuple[list[Drift], str]:
    """What a session shows, and why it cannot be judged, empty if it can."""
    idle_ms = rows[0].latency_ms / (rows[0].latency_ratio or math.nan)
    if timed.noisy or timed.reference_ms > MAX_IDLE_RATIO * idle_ms:
        reference = f"the reference network takes {timed.reference_ms:.4f} ms, {idle_ms:.4f} ms when it was recorded"
        return [], f"latencies are not judged: the machine is busy ({reference}); check again when it is quiet"
    drifts = [Drift(variant=Path(file.path).stem, kind="latency", words=file.reason) for file in timed.failed]
    return drifts + _moved(*_both_intervals(rows, models, timed)), ""


def _both_intervals(
    rows: Sequence[VariantRow], models: Mapping[str, Model], timed: LatencySession
) -> tuple[dict[str, _Interval], dict[str, _Interval]]:
    """The recorded and the new latency of each timed variant, with 95 % for all of them together."""
    latencies = {file.path: file.latency for file in timed.files}
    was, now = {}, {}
    for row in rows:
        latency = latencies.get(str(models[row.name].path))
        if latency:
            was[row.name] = _recorded(row)
            now[row.name] = _Interval(latency.ratio, latency.ratio_low, latency.ratio_high)
    # Bonferroni, by widening intervals that have 95 % each.
    tail = NormalDist().inv_cdf
    factor = tail(1 - (1 - CONFIDENCE) / 2 / max(len(now), 1)) / tail(1 - (1 - CONFIDENCE) / 2)
    return _widened(was, factor), _widened(now, factor)


def _widened(intervals: Mapping[str, _Interval], factor: float) -> dict[str, _Interval]:
    return {name: interval.widened(factor) for name, interval in intervals.items()}


def _moved(was: Mapping[str, _Interval], now: Mapping[str, _Interval]) -> list[Drift]:
    """Variants whose latency changed, and neighbours that were apart and changed places."""
    drifts = []
    for name, latency in now.items():
        if _has_moved(was[name], latency):
            change = f"{latency.value / was[name].value - 1:+.0%}"
            words = f"latency is {latency.value:.3f} x ref, recorded was {was[name].value:.3f} ({change})"
            drifts.append(Drift(variant=name, kind="latency", words=words))
    for faster, slower in pairwise(now):
        if was[slower].is_above(was[faster]) and now[faster].is_above(now[slower]):
            words = f"it was faster than {slower}, and is slower now"
            drifts.append(Drift(variant=faster, kind="order", words=words))
    return drifts


def _recorded(row: VariantRow) -> _Interval:
    ratio = row.latency_ratio or math.nan
    low, high = (ratio * end / row.latency_ms for end in (row.latency_low_ms, row.latency_high_ms))
    return _Interval(ratio, low, high)


def _has_moved(was: _Interval, now: _Interval) -> bool:
    is_apart = now.is_above(was) or was.is_above(now)
    return is_apart and abs(now.value / was.value - 1) > MIN_CHANGE
