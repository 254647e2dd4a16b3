"""The rows of a table: chosen candidates with their names, and their scores on the test split."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from whc import records
from whc.data.dataset import SPLIT_NAMES, Corpus
from whc.factory import ladder, smoothing
from whc.factory.evidence import Evidence, interval, part_scores, scores
from whc.factory.front import Candidate, Exported, changed, judged
from whc.factory.recipe import SmoothingValues
from whc.plugins import Choice
from whc.records import NO_TEST_SPLIT, Metric, TimedFile, VariantRow
from whc.tasks import Task
from whc.trials.artifacts import predictions

LADDER_FOLDER = "ladder"
NOISY_MACHINE = "timed on a machine that was too noisy; time again with --retime when it is quiet"


def name_and_score(
    variants: Sequence[Candidate], files: Sequence[Path], task: Task, corpus: Corpus, runtime: Choice
) -> list[VariantRow]:
    """The rows of the chosen candidates, with their final files; scored on the test split, if there is one."""
    tests: dict[str, Corpus] = {}
    if corpus.has_test:
        code = SPLIT_NAMES.index("test")
        conditions = task.conditions.items()
        tests = {"": corpus} | {name: changed(corpus, code, how, task) for name, how in conditions}
    return [_variant(file, variant, tests, runtime) for file, variant in zip(files, variants, strict=True)]


def final_files(
    variants: Sequence[Candidate], prefix: str, corpus: Corpus, values: SmoothingValues, folder: Path
) -> list[Path]:
    """Name the chosen candidates, and write their final files into a folder."""
    files = []
    for name, variant in zip(ladder.names(len(variants), prefix), variants, strict=True):
        source = variant.exported.artifact
        files.append(Path(shutil.copyfile(source, folder / f"{name}{source.suffix}")))
        smoothing.carry(files[-1], variant.exported, corpus, values)
    return files


def _variant(final: Path, candidate: Candidate, tests: Mapping[str, Corpus], runtime: Choice) -> VariantRow:
    """Score a candidate's final file on the test split, which nothing else uses.

    `tests` holds the unchanged corpus under "", and the corpus with changed test pictures under the name of each
    condition. It is empty without a test split.
    """
    exported = replace(candidate.exported, artifact=final)
    kind, timed, latency, fitted = exported.config.task_kind, candidate.timed, candidate.latency, exported.fitted
    evidence = {condition: _tested(exported, corpus, runtime) for condition, corpus in tests.items()}
    metric, plain = kind.metric, evidence.get("")
    ends = interval(scores(plain)) if plain else None
    changed_scores = {condition: changed.score for condition, changed in evidence.items()}
    return VariantRow(
        name=final.stem,
        score=plain.score if plain else None,
        score_low=ends and ends[0],
        score_high=ends and ends[1],
        shown=f"{metric.shown(plain.score)} ({metric.shown_range(*ends)})" if plain and ends else NO_TEST_SPLIT,
        score_changed={condition: changed_scores.get(condition) for condition in kind.conditions},
        parts=part_scores(plain, metric) if plain else {},
        val_score=candidate.val_score,
        seeds=fitted.seeds,
        latency_ms=latency.ms,
        latency_low_ms=latency.low_ms,
        latency_high_ms=latency.high_ms,
        latency_ratio=latency.ratio,
        call_ms=timed.call_ms,
        size_bytes=final.stat().st_size,
        ram_bytes=timed.ram_bytes,
        params=fitted.record.params or 0,
        runtime=latency.runtime,
        file=f"{LADDER_FOLDER}/{final.name}",
        sha256=records.sha256(final),
        config=fitted.record.config,
        trial_id=fitted.trial.trial_id,
        notes=[
            exported.note or str(exported.parity),
            *filter(None, (fitted.note, _about_call(timed), latency.noisy and NOISY_MACHINE)),
        ],
    )


def _about_call(timed: TimedFile) -> str:
    """A note where the network takes less time than the call; else empty."""
    if not timed.is_mostly_call:
        return ""
    return f"the network itself takes {timed.own_ms:.4f} ms, a call of an empty one {timed.call_ms:.4f} ms"


def _tested(exported: Exported, corpus: Corpus, runtime: Choice) -> Evidence:
    outputs = np.concatenate(list(predictions(exported.artifact, corpus, "test", runtime)))
    return judged(exported, corpus, "test", outputs)


def flag_test_scores(rows: Sequence[VariantRow], floor: float | None, metric: Metric) -> list[VariantRow]:
    """Add notes where the test split contradicts the choice, which validation made; change nothing else."""
    side = "below" if metric.is_error else "above"
    flagged = []
    for faster, row in zip([None, *rows], rows, strict=False):
        notes = list(row.notes)
        if faster and _at_most(row.score, faster.score):
            notes.append(f"test {metric.name} is not {side} that of {faster.name}, which is faster")
        if _at_most(row.score, floor):
            notes.append(f"test {metric.name} is not {side} that of the constant predictor")
        flagged.append(row.model_copy(update={"notes": notes}))
    return flagged


def _at_most(score: float | None, limit: float | None) -> bool:
    return score is not None and limit is not None and score <= limit
