"""Whether a ladder, with the other files that it keeps, still is what its table says: files, scores and latencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist

from pydantic import BaseModel, ConfigDict

from whc import records
from whc.errors import ArtifactError, RuntimeUnavailable, StudyError, problem
from whc.export.parity import ParityLimits
from whc.factory.measuring import TABLE_FILE, Load, LoadOn, runtime_of
from whc.factory.scoring import Model, read_rows, score
from whc.latency.host import host
from whc.latency.idle import MAX_IDLE_RATIO
from whc.plugins import Choice
from whc.records import LadderTable, LatencySession, StudyRecord, TriedArtifact, VariantRow
from whc.runtimes import suffix_of, suited
from whc.words import quantity

MIN_CHANGE = 0.05  # a smaller change of latency is no drift, however sure
CONFIDENCE = 0.95  # of all variants together

TimeFiles = Callable[[Sequence[Path], Choice], LatencySession]
"""Times files against each other on a runtime, as `whc.latency.bench.session`."""


class Drift(BaseModel):
    """One thing that is no longer as recorded; `kind` is hash, labels, score, latency, order or file.

    `variant` is a variant's name, or the name of another file of a variant.
    """

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


@dataclass(frozen=True)
class _Recorded:
    """A file with what the table says of it.

    `split` is that of its score. `latency` is None in old tables. `is_variant`: the
    variant itself, which has a place in the order, and not another of its files.
    """

    name: str
    path: Path
    sha256: str
    runtime: str
    split: str
    score: float | None
    latency: _Interval | None
    is_variant: bool


def _recorded_files(table: LadderTable, folder: Path) -> list[_Recorded]:
    """All files of a ladder: the variants, fastest first, and then the other files that they keep."""
    split = "test" if table.test_split else "val"
    variants, others = [], []
    for row in table.variants:
        score = row.score if table.test_split else row.val_score
        path, latency = folder / row.file, _variant_latency(row)
        variants.append(_Recorded(row.name, path, row.sha256, row.runtime, split, score, latency, True))
        for kept in (tried for tried in row.artifacts if tried.file):
            path, latency = folder / kept.file, _artifact_latency(kept)
            name, fields = kept.file_name, (kept.sha256, kept.runtime, "val", kept.val_score)
            others.append(_Recorded(name, path, *fields, latency, False))
    return [*variants, *others]


def _variant_latency(row: VariantRow) -> _Interval | None:
    if row.latency_ratio is None:
        return None
    low, high = (row.latency_ratio * end / row.latency_ms for end in (row.latency_low_ms, row.latency_high_ms))
    return _Interval(row.latency_ratio, low, high)


def _artifact_latency(kept: TriedArtifact) -> _Interval | None:
    """With the interval of its ratio to the ONNX file, which is the wider one."""
    if kept.latency_ratio is None or not kept.ratio_to_onnx:
        return None
    scale = kept.latency_ratio / kept.ratio_to_onnx
    low, high = (end or math.nan for end in (kept.ratio_low, kept.ratio_high))
    return _Interval(kept.latency_ratio, scale * low, scale * high)


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
    files, runtime = _recorded_files(table, folder), runtime_of(table, folder)
    load = load_on(runtime)
    drifts: list[Drift] = []
    notes: list[str] = []
    on_step("reading the files")
    models: dict[str, Model] = {}
    for file in files:
        try:
            drifts += _file_drifts(file, table, load, models)
        except RuntimeUnavailable as error:
            if file.is_variant:
                raise
            notes.append(f"{file.name} is not judged: {error}")
    if unhashed := [file.name for file in files if not file.sha256]:
        notes.append(f"hashes of {', '.join(unhashed)} are not judged: the table is of an older version without them")
    if models:
        sound = [file for file in files if file.name in models]
        on_step("scoring the files")
        drifts += _score_drifts(sound, table, folder, models)
        latency_drifts, latency_notes = _latency_drifts(sound, table, runtime, time_files, on_step)
        drifts, notes = drifts + latency_drifts, notes + latency_notes
    return drifts, notes


def _file_drifts(file: _Recorded, table: LadderTable, load: Load, models: dict[str, Model]) -> list[Drift]:
    """What is wrong with a file; one that can be judged further joins the `models`."""
    path, rebuild = file.path, f"`whc factory build-table --study {table.study}` writes it again"
    if not path.is_file():
        return [Drift(variant=file.name, kind="file", words=f"{path} is missing; {rebuild}")]
    digest = records.sha256(path)
    words = f"{path} is another file: its hash is {digest[:12]}, recorded was {file.sha256[:12]}; {rebuild}"
    changed = [Drift(variant=file.name, kind="hash", words=words)] if file.sha256 not in ("", digest) else []
    if changed and suffix_of(path) == ".tflite":
        return changed  # LiteRT trusts what it reads: a damaged file would end this process
    try:
        model = load(path, None)
    except ArtifactError as error:
        return [Drift(variant=file.name, kind="file", words=str(error))]
    ours = (model.metadata.task, model.metadata.labels)
    if ours != (table.task, table.labels):
        words = f"the file's labels are {ours[1]} of {ours[0]}, the table's {table.labels} of {table.task}"
        return [Drift(variant=file.name, kind="labels", words=words)]
    models[file.name] = model
    return changed


def _score_drifts(
    files: Sequence[_Recorded], table: LadderTable, folder: Path, models: Mapping[str, Model]
) -> list[Drift]:
    """Files that no longer score what the table says."""
    paths = StudyRecord.load(folder).data_paths(folder)
    frames = table.val_frames or max(model.metadata.frames for model in models.values())
    drifts, limit = [], ParityLimits().max_score_difference
    for split in dict.fromkeys(file.split for file in files):
        rows = read_rows(paths, list(models.values()), split)
        if rows.table.fingerprint != table.data_fingerprint:
            rule = f"must be the data set of the ladder ({table.data_fingerprint})"
            raise StudyError(problem(rows.source, rule, rows.table.fingerprint, "put that file back"))
        ends = rows.ends(frames) if split == "val" else None
        for file in (file for file in files if file.split == split):
            again = score(models[file.name], rows, ends).score
            if file.score is None or not abs(again - file.score) <= limit:
                shown = "none" if file.score is None else table.metric.shown(file.score)
                words = f"{split} score is {table.metric.shown(again)}, recorded was {shown}"
                drifts.append(Drift(variant=file.name, kind="score", words=words))
    return drifts


def _latency_drifts(
    files: Sequence[_Recorded],
    table: LadderTable,
    runtime: Choice,
    time_files: TimeFiles,
    on_step: Callable[[str], None],
) -> tuple[list[Drift], list[str]]:
    """Files that became slower or faster, or changed places; and why latencies are not judged."""
    if table.host != host():
        return [], [f"latencies are not judged: they were measured on {table.host}, this is {host()}"]
    # A timer's files, too, may be of this machine, but of another runtime.
    timed = [file for file in files if file.latency and file.runtime == suited(file.path, runtime).name]
    if not any(file.is_variant for file in timed):
        theirs = ", ".join(sorted({row.runtime for row in table.variants}))
        if theirs != runtime.name:
            return [], [f"latencies are not judged: they are of {theirs}, the study's runtime is {runtime.name}"]
        return [], ["latencies are not judged: the table has no ratios to the reference network"]
    on_step(f"timing {quantity(len(timed), 'file')}, interleaved")
    idle_ms = next(row.latency_ms / row.latency_ratio for row in table.variants if row.latency_ratio)
    paths = [file.path for file in timed]
    drifts, note = _timed_drifts(timed, idle_ms, time_files(paths, runtime))
    if drifts:
        on_step("timing the files again, as a drift must show twice")
        confirmed, note = _timed_drifts(timed, idle_ms, time_files(paths, runtime))
        seen = {(drift.variant, drift.kind) for drift in confirmed}
        drifts = [drift for drift in drifts if (drift.variant, drift.kind) in seen]
    notes = [note] if note else []
    if others := [file.name for file in files if file.latency and file not in timed]:
        notes.append(f"latencies of {', '.join(others)} are not judged: they are not of what runs the files here")
    return drifts, notes


def _timed_drifts(files: Sequence[_Recorded], idle_ms: float, timed: LatencySession) -> tuple[list[Drift], str]:
    """What a session shows, and why it cannot be judged, empty if it can.

    `idle_ms` is what the reference network took when the table was made.
    """
    if timed.noisy or timed.reference_ms > MAX_IDLE_RATIO * idle_ms:
        reference = f"the reference network takes {timed.reference_ms:.4f} ms, {idle_ms:.4f} ms when it was recorded"
        return [], f"latencies are not judged: the machine is busy ({reference}); check again when it is quiet"
    names = {str(file.path): file.name for file in files}
    drifts = [Drift(variant=names[file.path], kind="latency", words=file.reason) for file in timed.failed]
    was, now = _both_intervals(files, timed)
    in_order = [file.name for file in files if file.is_variant and file.name in now]
    return drifts + _moved(was, now) + _swapped(in_order, was, now), ""


def _both_intervals(
    files: Sequence[_Recorded], timed: LatencySession
) -> tuple[dict[str, _Interval], dict[str, _Interval]]:
    """The recorded and the new latency of each timed file, with 95 % for all of them together."""
    latencies = {file.path: file.latency for file in timed.files}
    was, now = {}, {}
    for file in files:
        latency = latencies.get(str(file.path))
        if latency and file.latency:
            was[file.name] = file.latency
            now[file.name] = _Interval(latency.ratio, latency.ratio_low, latency.ratio_high)
    # Bonferroni, by widening intervals that have 95 % each.
    tail = NormalDist().inv_cdf
    factor = tail(1 - (1 - CONFIDENCE) / 2 / max(len(now), 1)) / tail(1 - (1 - CONFIDENCE) / 2)
    return _widened(was, factor), _widened(now, factor)


def _widened(intervals: Mapping[str, _Interval], factor: float) -> dict[str, _Interval]:
    return {name: interval.widened(factor) for name, interval in intervals.items()}


def _moved(was: Mapping[str, _Interval], now: Mapping[str, _Interval]) -> list[Drift]:
    """Files whose latency changed."""
    drifts = []
    for name, latency in now.items():
        if _has_moved(was[name], latency):
            change = f"{latency.value / was[name].value - 1:+.0%}"
            words = f"latency is {latency.value:.3f} x ref, recorded was {was[name].value:.3f} ({change})"
            drifts.append(Drift(variant=name, kind="latency", words=words))
    return drifts


def _swapped(names: Sequence[str], was: Mapping[str, _Interval], now: Mapping[str, _Interval]) -> list[Drift]:
    """Neighbours that were apart and changed places."""
    return [
        Drift(variant=faster, kind="order", words=f"it was faster than {slower}, and is slower now")
        for faster, slower in pairwise(names)
        if was[slower].is_above(was[faster]) and now[faster].is_above(now[slower])
    ]


def _has_moved(was: _Interval, now: _Interval) -> bool:
    is_apart = now.is_above(was) or was.is_above(now)
    return is_apart and abs(now.value / was.value - 1) > MIN_CHANGE
