"""Build a ladder: front -> refit -> export -> parity -> timing -> choice -> test score -> table -> whoever listens."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from whc import records
from whc.config import shipped
from whc.data import dataset
from whc.data.dataset import SPLITS, Corpus
from whc.data.windows import windows
from whc.errors import DataError, StudyError, problem
from whc.factory import ladder, table
from whc.factory.evidence import interval, probability_of_gain
from whc.factory.front import Candidate, candidates, decisions, export_all, left_out, study_front, turned
from whc.factory.recipe import Recipe, read
from whc.factory.refit import refit, shortlist
from whc.latency.host import host
from whc.pareto import Point, dominates
from whc.plugins import Choice, ChoiceOf
from whc.records import LadderObserver, LadderTable, LeftOut, StudyRecord, TrialRecord, VariantRow
from whc.trials.config import TrialConfig

RUNTIMES = ChoiceOf("runtimes")
FOLDER = "ladder"
ROTATIONS = (-12, 12)  # degrees by which test pictures are turned for a second score


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
    task = TrialConfig.model_validate(front[0].config).task_module
    floor = task.constant_score(windows(corpus, "val", 1).class_ids) + recipe.min_over_constant
    slowest = max(trial.latency.ms for trial in front if trial.latency)
    reference = Point(floor, study.limits.get("latency_ms", 2 * slowest))
    trials = shortlist(front, recipe.refit.candidates, reference)
    seen, rejected = _candidates(study, recipe, trials, corpus, scratch, on_step)
    more = f"beyond the {recipe.refit.candidates} candidates that are trained again"
    rejected += [left_out(trial, more) for trial in front if trial not in trials]
    chosen = _choose(seen, recipe, reference, recipe.confidence)
    rejected += [_not_chosen(one, seen, chosen, recipe, reference) for i, one in enumerate(seen) if i not in chosen]
    if not chosen:
        reasons = "; ".join(f"trial {row.trial_id}: {row.reason}" for row in rejected)
        raise StudyError(
            f"{scratch.parent}: no candidate passed the recipe's gates, got {reasons}; search on, or change the recipe"
        )
    on_step("scoring the chosen variants on the test split")
    names = ladder.names(len(chosen), recipe.prefix)
    tests = {"": corpus, **{f"{turn:+}": turned(corpus, SPLITS.index("test"), turn) for turn in ROTATIONS}}
    rows = [_variant(name, seen[i], tests, runtime, scratch) for name, i in zip(names, chosen, strict=True)]
    constant_f1 = task.constant_score(windows(corpus, "test", 1).class_ids)
    return LadderTable(
        study=study.study,
        prefix=recipe.prefix,
        task=seen[0].exported.config.task.name,
        labels=list(corpus.labels),
        data_fingerprint=corpus.fingerprint,
        code_version=records.code_version(),
        host=host(),
        constant_f1=constant_f1,
        confidence=recipe.confidence,
        variants_at_95=len(_choose(seen, recipe, reference, 0.95)),
        variants=_flag_test_scores(rows, constant_f1),
        left_out=sorted(rejected, key=lambda row: row.latency_ms),
    )


def _candidates(
    study: StudyRecord,
    recipe: Recipe,
    trials: Sequence[TrialRecord],
    corpus: Corpus,
    scratch: Path,
    on_step: Callable[[str], None],
) -> tuple[list[Candidate], list[LeftOut]]:
    """Train, export, check, score and time the shortlisted trials."""
    runtime = RUNTIMES.parse(study.runtime)
    fitted, failed = refit(trials, study, scratch.parent, corpus, recipe.refit, runtime, on_step)
    exported, unfit = export_all(fitted, scratch, corpus, runtime, recipe.parity, on_step)
    on_step(f"scoring and timing {len(exported)} candidates, interleaved")
    # On the host of the search, milliseconds mean what they meant there; on another one, what its own reference says.
    reference_ms = study.reference_ms if study.host == host() else None
    seen = candidates(exported, corpus, runtime, recipe.timing, reference_ms) if exported else []
    return seen, [left_out(trial, reason) for trial, reason in failed] + unfit


def _choose(seen: Sequence[Candidate], recipe: Recipe, reference: Point, confidence: float) -> list[int]:
    def beats(slower: int, faster: int) -> bool:
        return _sure(seen[slower], seen[faster], recipe) >= confidence

    return ladder.choose([candidate.point for candidate in seen], recipe.max_variants, beats, reference)


def _sure(slower: Candidate, faster: Candidate, recipe: Recipe) -> float:
    """How sure the slower of two candidates adds the recipe's gain; 0 where it does not even on the rows themselves."""
    if slower.val_f1 - faster.val_f1 < recipe.min_gain:
        return 0.0
    task = slower.exported.config.task_module
    return probability_of_gain(task, slower.evidence, faster.evidence, recipe.min_gain)


def _not_chosen(
    candidate: Candidate, seen: Sequence[Candidate], chosen: Sequence[int], recipe: Recipe, reference: Point
) -> LeftOut:
    """Which gate stopped a candidate."""
    point = candidate.point
    better = [other for other in seen if dominates(other.point, point)]
    faster = [seen[i] for i in chosen if seen[i].latency.ms < candidate.latency.ms]
    if point.quality <= reference.quality:
        constant = reference.quality - recipe.min_over_constant
        reason = f"not better than the constant predictor ({constant:.4f}) by {recipe.min_over_constant}"
    elif better:
        reason = f"dominated by trial {better[0].exported.trial_id}"
    elif faster and _sure(candidate, faster[-1], recipe) < recipe.confidence:
        sure = _sure(candidate, faster[-1], recipe)
        gain = f"{recipe.min_gain} F1 over trial {faster[-1].exported.trial_id}, which is faster"
        reason = f"not told apart: a gain of {gain}, is {sure:.0%} sure (must be {recipe.confidence:.0%})"
    else:
        reason = f"others of the front are worth more hypervolume among {recipe.max_variants} variants"
    return left_out(candidate.exported.fitted.trial, reason, candidate.val_f1, candidate.latency)


def _variant(
    name: str, candidate: Candidate, tests: Mapping[str, Corpus], runtime: Choice, scratch: Path
) -> VariantRow:
    """Name a candidate, and score its final file on the test split: the only time that split is used.

    `tests` holds the corpus as it is under "", and with test pictures turned under the degrees.
    """
    final = candidate.exported.artifact.rename(scratch / f"{name}.onnx")
    exported = replace(candidate.exported, artifact=final)
    task, latency, fitted = exported.config.task_module, candidate.latency, exported.fitted
    evidence = {turn: decisions(exported, corpus, "test", runtime) for turn, corpus in tests.items()}
    f1 = {turn: float(task.score_of(seen.counts.sum(0))) for turn, seen in evidence.items()}
    low, high = interval(task, evidence[""])
    return VariantRow(
        name=name,
        f1=f1.pop(""),
        f1_low=low,
        f1_high=high,
        f1_rotated=f1,
        val_f1=candidate.val_f1,
        seeds=dict(fitted.seeds),
        latency_ms=latency.ms,
        latency_low_ms=latency.low_ms,
        latency_high_ms=latency.high_ms,
        size_bytes=final.stat().st_size,
        params=fitted.record.params or 0,
        runtime=latency.runtime,
        onnx=f"{FOLDER}/{final.name}",
        config=fitted.record.config,
        trial_id=fitted.trial.trial_id,
        notes=[str(exported.parity)],
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
