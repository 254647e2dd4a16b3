"""The rows of a table: chosen candidates with their names, and their scores on the test split."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from whc import records
from whc.data.dataset import SPLIT_NAMES, Corpus
from whc.factory import ladder
from whc.factory.evidence import Evidence, interval, part_scores, scores
from whc.factory.front import Candidate, Exported, changed, judged
from whc.plugins import Choice
from whc.records import NO_TEST_SPLIT, Metric, TimedFile, VariantRow
from whc.tasks import Task
from whc.trials.artifacts import predictions

LADDER_FOLDER = "ladder"
NOISY_MACHINE = "timed on a machine that was too noisy; time again with --retime when it is quiet"


def name_and_score(
    variants: Sequence[Candidate], prefix: str, task: Task, corpus: Corpus, runtime: Choice, scratch: Path
) -> list[VariantRow]:
    """Name the chosen candidates and score them on the test split, if there is one; their files go to `scratch`."""
    tests: dict[str, Corpus] = {}
    if corpus.has_test:
        code = SPLIT_NAMES.index("test")
        conditions = task.conditions.items()
        tests = {"": corpus} | {name: changed(corpus, code, how, task) for name, how in conditions}
    pairs = zip(ladder.names(len(variants), prefix), variants, strict=True)
    return [_variant(name, variant, tests, runtime, scratch) for name, variant in pairs]


def _variant(
    name: str, candidate: Candidate, tests: Mapping[str, Corpus], runtime: Choice, scratch: Path
) -> VariantRow:
    """Name a candidate, and score its final file on the test split, which nothing else uses.

    `tests` holds the unchanged corpus under "", and the corpus with changed test pictures under the name of each
    condition. It is empty without a test split.
    """
    source = candidate.exported.artifact
    final = Path(shutil.copyfile(source, scratch / f"{name}{source.suffix}"))
    exported = replace(candidate.exported, artifact=final)
    kind, timed, latency, fitted = exported.config.task_kind, candidate.timed, candidate.latency, exported.fitted
    evidence = {condition: _tested(exported, corpus, runtime) for condition, corpus in tests.items()}
    metric, plain = kind.metric, evidence.get("")
    ends = interval(scores(plain)) if plain else None
    changed_scores = {condition: changed.score for condition, changed in evidence.items()}
    return VariantRow(
        name=name,
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
