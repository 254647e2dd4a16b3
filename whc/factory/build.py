"""Build a ladder: front -> export -> parity gate -> timing -> choice -> test score -> table -> whoever listens."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from whc import records
from whc.config import shipped
from whc.data import dataset
from whc.data.dataset import Corpus
from whc.data.windows import windows
from whc.errors import DataError, StudyError, problem
from whc.factory import ladder, table
from whc.factory.front import Candidate, export_all, left_out, study_front, time_all
from whc.factory.recipe import Recipe, read
from whc.latency.host import host
from whc.pareto import Point
from whc.plugins import Choice, ChoiceOf
from whc.records import LadderObserver, LadderTable, LeftOut, StudyRecord, TrialRecord, VariantRow
from whc.trials.artifacts import predictions
from whc.trials.config import TrialConfig

RUNTIMES = ChoiceOf("runtimes")
FOLDER = "ladder"


def build_table(
    folder: Path, recipe_file: str | None, observers: Sequence[LadderObserver], on_step: Callable[[str], None]
) -> tuple[LadderTable, list[str]]:
    """Build the ladder of a study, replacing an earlier one only when the new one is complete.

    Args:
        folder: the study's folder.
        recipe_file: name or path of a recipe; the one the study names when None.
        observers: told about the finished ladder.
        on_step: told what happens, for a progress display.

    Returns:
        The table, and the lines that the observers gave.

    Raises:
        StudyError: no finished trials, no candidate passed its gates, or the study is in use.
        DataError: the data set is gone or has changed.
    """
    study = StudyRecord.load(folder)
    recipe = read(shipped("factory", recipe_file or study.recipe))
    with records.locked(folder):
        trials = list(records.trial_records(folder))
        front = study_front(trials)
        if not front:
            raise StudyError(
                problem(
                    str(folder),
                    "must hold finished trials",
                    f"{len(trials)} trials, none finished",
                    "search on with --resume --trials N",
                )
            )
        on_step("decoding the data")
        corpus = _load(study, front)
        scratch = folder / f".{FOLDER}.tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        built = _build(study, recipe, front, corpus, scratch, on_step)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        scratch.rename(folder / FOLDER)
        table.write(built, trials, folder)
        on_step("registering the variants")
        lines = [line for observer in observers for line in observer.ladder_built(built, folder)]
    return built, lines


def _load(study: StudyRecord, front: Sequence[TrialRecord]) -> Corpus:
    sizes = {TrialConfig.model_validate(record.config).model.image_size for record in front}
    corpus = dataset.load(Path(study.data), sizes)
    if corpus.fingerprint != study.data_fingerprint:
        rule = f"must be the data set that the study searched ({study.data_fingerprint})"
        raise DataError(problem(study.data, rule, corpus.fingerprint, "put that file back, or search again"))
    return corpus


def _build(
    study: StudyRecord,
    recipe: Recipe,
    front: Sequence[TrialRecord],
    corpus: Corpus,
    scratch: Path,
    on_step: Callable[[str], None],
) -> LadderTable:
    runtime = RUNTIMES.parse(study.runtime)
    exported, rejected = export_all(front, scratch.parent, scratch, corpus, runtime, recipe.parity, on_step)
    on_step(f"timing {len(exported)} candidates, interleaved")
    # On the host of the search, milliseconds mean what they meant there; on another one, what its own reference says.
    reference_ms = study.reference_ms if study.host == host() else None
    candidates = time_all(exported, runtime, recipe.timing, reference_ms) if exported else []
    task = TrialConfig.model_validate(front[0].config).task_module
    floor = task.constant_score(windows(corpus, "val", 1).class_ids) + recipe.min_over_constant
    reference = Point(floor, study.limits.get("latency_ms", 2 * max((c.latency.ms for c in candidates), default=1)))
    points = [candidate.point for candidate in candidates]
    chosen = ladder.choose(
        points, recipe.max_variants, lambda i, j: points[i].quality - points[j].quality >= recipe.min_gain, reference
    )
    rejected += [_not_chosen(c, recipe, reference) for i, c in enumerate(candidates) if i not in chosen]
    if not chosen:
        reasons = "; ".join(f"trial {row.trial_id}: {row.reason}" for row in rejected)
        raise StudyError(
            f"{scratch.parent}: no candidate passed the recipe's gates, got {reasons}; search on, or change the recipe"
        )
    on_step("scoring the chosen variants on the test split")
    names = ladder.names(len(chosen), recipe.prefix)
    rows = [_variant(name, candidates[i], corpus, runtime, scratch) for name, i in zip(names, chosen, strict=True)]
    constant_f1 = task.constant_score(windows(corpus, "test", 1).class_ids)
    return LadderTable(
        study=study.study,
        prefix=recipe.prefix,
        task=candidates[0].config.task.name,
        labels=list(corpus.labels),
        data_fingerprint=corpus.fingerprint,
        code_version=records.code_version(),
        host=host(),
        constant_f1=constant_f1,
        variants=_flag_test_scores(rows, constant_f1),
        left_out=sorted(rejected, key=lambda row: row.latency_ms),
    )


def _not_chosen(candidate: Candidate, recipe: Recipe, reference: Point) -> LeftOut:
    if candidate.point.quality <= reference.quality:
        constant = reference.quality - recipe.min_over_constant
        reason = f"not better than the constant predictor ({constant:.4f}) by {recipe.min_over_constant}"
    else:
        reason = f"dominated, or within {recipe.min_gain} F1 of a faster one, or beyond {recipe.max_variants} variants"
    return left_out(candidate.record, reason, candidate.latency)


def _variant(name: str, candidate: Candidate, corpus: Corpus, runtime: Choice, scratch: Path) -> VariantRow:
    """Name a candidate, and score it on the test split through its final file: the only time that split is used."""
    final = candidate.artifact.rename(scratch / f"{name}.onnx")
    probabilities = np.concatenate(list(predictions(final, corpus, "test", runtime)))
    test = windows(corpus, "test", candidate.config.model.frames)
    record, latency = candidate.record, candidate.latency
    return VariantRow(
        name=name,
        f1=candidate.config.task_module.score(probabilities, test.class_ids, candidate.config.threshold),
        val_f1=record.val_f1 or 0.0,
        latency_ms=latency.ms,
        latency_low_ms=latency.low_ms,
        latency_high_ms=latency.high_ms,
        size_bytes=final.stat().st_size,
        params=record.params or 0,
        runtime=latency.runtime,
        onnx=f"{FOLDER}/{final.name}",
        config=record.config,
        trial_id=record.trial_id,
        notes=[str(candidate.parity)],
    )


def _flag_test_scores(rows: Sequence[VariantRow], constant_f1: float) -> list[VariantRow]:
    """Validation chose; where the test split would have it otherwise, say so and change nothing."""
    flagged = []
    for faster, row in zip([None, *rows], rows, strict=False):
        notes = list(row.notes)
        if faster and row.f1 <= faster.f1:
            notes.append(f"test F1 is not above that of {faster.name}, which is faster")
        if row.f1 <= constant_f1:
            notes.append("test F1 is not above that of the constant predictor")
        flagged.append(row.model_copy(update={"notes": notes}))
    return flagged
