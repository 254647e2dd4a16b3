"""Gates: whether a new ladder may replace the registered one of its prefix. It is promoted as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whc.errors import WhcError
from whc.export.parity import ParityLimits
from whc.factory.measuring import (
    Entry,
    LoadOn,
    Measured,
    Side,
    ladder_side,
    load_all,
    measure,
    runtime_of,
    training_data,
)
from whc.factory.scoring import LabelledRows, Model, read_rows, score
from whc.factory.unseen import trained_on
from whc.latency.timing import Protocol
from whc.records import Champion, LadderTable, Metric, StudyRecord
from whc.words import quantity

OLD, NEW = "old", "new"
MIN_ROWS, MIN_GROUPS = 30, 5  # of fewer, a bootstrap tells nothing
MAX_ERROR = 0.05  # chance that equal ladders seem different, all variants together


class _Undecidable(Exception):
    """The ladders cannot be compared; the message says why."""


@dataclass(frozen=True)
class Gates:
    """The gates of ladders; a `whc.records.Gate`.

    `runs` is the folder that holds the studies, `load_on` gives what loads files on a runtime, `on_step` is called with
    a line at each step.

    The gate `parity`: each new file scores on validation what its network scored. The gate `no loss`: no old variant is
    distinguishably better than the new variant to take in its place, which is the best of those that are not slower, or
    the fastest where all are. Both ladders are scored on the new study's validation rows without those whose picture or
    person the old ladder was trained on, and timed in one session.
    """

    runs: Path
    load_on: LoadOn
    on_step: Callable[[str], None]

    def __call__(self, table: LadderTable, folder: Path, champions: Sequence[Champion]) -> str:
        """Why the ladder may not be promoted; empty if it may."""
        advice = f"whc factory promote --study {table.study} --force --reason TEXT promotes it all the same"
        try:
            reason = self._reason(table, folder, champions)
        except (_Undecidable, WhcError) as error:
            reason = f"the gates are not decidable: {error}"
        return f"not promoted, the former ladder stays: {reason}; {advice}" if reason else ""

    def _reason(self, table: LadderTable, folder: Path, champions: Sequence[Champion]) -> str:
        runtime, sides = runtime_of(table, folder), {NEW: ladder_side(table, folder)}
        if champions:
            sides[OLD] = _champion_side(champions, self.runs)
        loaded, failed = load_all(sides, self.load_on(runtime))
        if failed:
            raise _Undecidable("; ".join(failed.values()))
        models = [model for side in loaded.values() for model in side.values()]
        paths = StudyRecord.load(folder).data_paths(folder)
        self.on_step("gates: reading the validation rows")
        rows = read_rows(paths, models, "val")
        if rows.table.fingerprint != table.data_fingerprint:
            raise _Undecidable(f"{rows.source} is no longer the data set of {table.study}")
        if broken := _parity_fault(table, loaded[NEW], rows):
            return f"gate parity: {broken}"
        if not champions:
            return ""
        unseen = self._unseen(rows, sides[OLD], champions, models[0], table)
        measured = measure(loaded, unseen, runtime, Protocol(), self._say)
        _check_enough(measured)
        return _loss(measured, table.metric, {each.name: each.version for each in champions})

    def _say(self, step: str) -> None:
        self.on_step(f"gates: {step}")

    def _unseen(
        self, rows: LabelledRows, old: Side, champions: Sequence[Champion], model: Model, table: LadderTable
    ) -> LabelledRows:
        """The rows without those that the old ladder was trained on."""
        for study in sorted({champion.study for champion in champions}):
            if study == table.study:
                continue  # of the same data, whose validation rows nothing is trained on
            training = training_data(Side(old.title, old.files, self.runs / study), model.task)
            if training is None:
                raise _Undecidable(f"the data that {study} was trained on are not there, or have changed")
            if training.fingerprint != rows.table.fingerprint:
                rows = rows.without(trained_on(rows, training))
        return rows


def _champion_side(champions: Sequence[Champion], runs: Path) -> Side:
    files: dict[str, Path] = {}
    for champion in champions:
        if champion.path is None:
            raise _Undecidable(champion.fault)
        files[champion.name] = champion.path
    return Side("the registered ladder", files, runs / champions[0].study)


def _parity_fault(table: LadderTable, models: Mapping[str, Model], rows: LabelledRows) -> str:
    """The first variant that does not score what its network scored; empty if there is none."""
    frames = table.val_frames or max(model.metadata.frames for model in models.values())
    ends, limit = rows.ends(frames), ParityLimits().max_score_difference
    for row in table.variants:
        ours = score(models[row.name], rows, ends).score
        if not abs(ours - row.val_score) <= limit:
            shown, expected = table.metric.shown(ours), table.metric.shown(row.val_score)
            return f"{row.name} gives {shown} on validation, its network gave {expected}"
    return ""


def _check_enough(measured: Measured) -> None:
    if measured.failed:
        raise _Undecidable("; ".join(measured.failed.values()))
    rows, groups = len(measured.ends), measured.groups
    if rows < MIN_ROWS or groups < MIN_GROUPS:
        got = f"{quantity(rows, 'row')} of {quantity(groups, 'group')}"
        rule = f"at least {MIN_ROWS} of {MIN_GROUPS} groups (people or clips)"
        raise _Undecidable(f"{got} that the former ladder was not trained on, {rule} are needed")


def _loss(measured: Measured, metric: Metric, versions: Mapping[str, str]) -> str:
    """The first old variant that the new ladder loses; empty if there is none."""
    old, new = measured.entries[OLD], measured.entries[NEW]
    for entry in old:
        rival = entry.rival(new)
        certainty = float(np.nanmean(entry.gains_over(rival) > 0))
        if certainty >= 1 - MAX_ERROR / len(old):
            ours = f"{entry.name} version {versions[entry.name]} ({_figures(entry, metric)})"
            theirs = f"the new {rival.name} ({_figures(rival, metric)})"
            return f"gate no loss: {ours} is better than {theirs}, the best that is not slower, {certainty:.1%} sure"
    return ""


def _figures(entry: Entry, metric: Metric) -> str:
    return f"{metric.shown(entry.scored.score)}, {entry.timed.latency.ratio:.3f} x ref"
