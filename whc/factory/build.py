"""Build a ladder: front -> refit -> export -> parity -> timing -> choice -> test score -> table -> observers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from whc import records
from whc.config import shipped
from whc.data import dataset
from whc.data.dataset import SPLIT_NAMES, Corpus
from whc.data.windows import windows
from whc.errors import DataError, StudyError, problem
from whc.factory import details, ladder, table
from whc.factory.evidence import Evidence, interval, part_scores, scores
from whc.factory.front import (
    Candidate,
    Exported,
    candidates,
    changed,
    export_all,
    judged,
    left_out,
    score_all,
)
from whc.factory.recipe import Recipe, read
from whc.factory.refit import candidate_fronts, refit, shortlist
from whc.factory.selection import choose, why_not
from whc.latency.bench import session
from whc.latency.host import host
from whc.plugins import Choice
from whc.records import (
    NO_TEST_SPLIT,
    LadderObserver,
    LadderTable,
    LatencySession,
    LeftOut,
    Metric,
    StudyRecord,
    TrialRecord,
    VariantRow,
)
from whc.records.results import point_of, reference_point
from whc.tasks import Task
from whc.trials.artifacts import predictions
from whc.trials.config import TrialConfig
from whc.trials.learning import image_sizes
from whc.words import quantity

LADDER_FOLDER, CANDIDATES_FOLDER = "ladder", "candidates"
NOISY_MACHINE = "timed on a machine that was too noisy; build the ladder again when it is quiet"


def build_table(
    folder: Path,
    recipe_file: str | None,
    observers: Sequence[LadderObserver],
    on_step: Callable[[str], None],
    latency_from: Path | None = None,
) -> tuple[LadderTable, list[str]]:
    """Build the ladder of a study; it replaces an earlier ladder only when it is complete.

    Args:
        folder: the study's folder.
        recipe_file: name or path of a recipe; None for the study's recipe.
        observers: called with the finished ladder.
        on_step: called with a line at each step, for a progress display.
        latency_from: result of `whc bench --out` for the study's candidates on another device; None to time them here.

    Returns:
        The table, and the lines that the observers return.

    Raises:
        StudyError: no finished trials, no candidate passed its gates, or the study is in use.
        DataError: the data set is gone or has changed.
        ArtifactError: `latency_from` is of other files.
    """
    study = StudyRecord.load(folder)
    recipe = read(shipped("factory", recipe_file or study.recipe))
    next_step = "write it again with `whc bench --out`"
    measured = records.load(LatencySession, latency_from, next_step) if latency_from else None
    with records.locked(folder):
        trials = list(records.trial_records(folder))
        fronts = candidate_fronts(trials, recipe.refit)
        if not fronts:
            raise StudyError(
                problem(
                    str(folder),
                    "must hold finished trials",
                    f"{quantity(len(trials), 'trial')}, none finished",
                    "search on with --resume --trials N",
                )
            )
        on_step("decoding the data")
        corpus = _load(study, folder, list(chain.from_iterable(fronts)))
        scratch, former = folder / f".{LADDER_FOLDER}.tmp", folder / f".{LADDER_FOLDER}.old"
        for leftover in (scratch, former):
            shutil.rmtree(leftover, ignore_errors=True)
        scratch.mkdir()
        work = _Work(study, recipe, folder, corpus, study.chosen_runtime, on_step)
        built = work.table(fronts, measured, str(latency_from), scratch)
        with table.written(built, trials, folder):
            # A process killed from here on leaves no table.json, rather than a table of another ladder's files.
            (folder / "table.json").unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                (folder / LADDER_FOLDER).rename(former)
            scratch.rename(folder / LADDER_FOLDER)
        shutil.rmtree(former, ignore_errors=True)
        if observers:
            on_step("handing the ladder on")
        lines = [line for observer in observers for line in observer.ladder_built(built, folder)]
    return built, lines


def _load(study: StudyRecord, folder: Path, front: Sequence[TrialRecord]) -> Corpus:
    configs = [TrialConfig.model_validate(record.config) for record in front]
    paths = study.data_paths(folder)
    corpus = dataset.load(paths, set().union(*map(image_sizes, configs)), configs[0].task_kind)
    if corpus.fingerprint != study.data_fingerprint:
        rule = f"must be the data set that the study searched ({study.data_fingerprint})"
        raise DataError(problem(study.data_shown, rule, corpus.fingerprint, "put that file back, or search again"))
    return corpus


@dataclass(frozen=True)
class _Work:
    """One build, with all that its steps need."""

    study: StudyRecord
    recipe: Recipe
    folder: Path
    corpus: Corpus
    runtime: Choice
    on_step: Callable[[str], None]

    def table(
        self, fronts: Sequence[Sequence[TrialRecord]], measured: LatencySession | None, source: str, scratch: Path
    ) -> LadderTable:
        """Choose among the best trials, and score the chosen trials; their files go to `scratch`."""
        recipe, front = self.recipe, fronts[0]
        task = TrialConfig.model_validate(front[0].config).task_for(self.corpus.labels)
        val_floor = self._floor(task, "val")
        min_score = val_floor + recipe.min_over_floor
        limit_ms = self.study.limits.get("latency_ms")
        search_reference = reference_point(min_score, limit_ms, [point_of(trial).cost for trial in front])
        trials = shortlist(fronts, recipe.refit.candidates, search_reference)
        exported, rejected = self._export(trials)
        rejected += [left_out(trial, recipe.refit.beyond) for trial in front if trial not in trials]
        timed = measured or self._time(exported)
        evidence = score_all(exported, self.corpus)
        judged, untimed = candidates(exported, evidence, timed, source)
        reference = reference_point(min_score, limit_ms, [candidate.latency.ms for candidate in judged])
        variants = choose(judged, recipe, reference, recipe.confidence)
        others = [candidate for candidate in judged if candidate not in variants]
        rejected += untimed + [why_not(candidate, judged, variants, recipe, reference) for candidate in others]
        if not variants:
            reasons = "; ".join(f"trial {row.trial_id}: {row.reason}" for row in rejected)
            raise StudyError(
                f"{self.folder}: no candidate passed the recipe's gates, got {reasons}; search on, or change the recipe"
            )
        rows = self._score(task, variants, scratch)
        chosen = {row.name: variant for row, variant in zip(rows, variants, strict=True)}
        details.write(chosen, self.corpus, self.recipe.thumbnails, scratch, self.on_step)
        floor = self._floor(task, "test") if self.corpus.has_test else None
        return LadderTable(
            study=self.study.study,
            prefix=recipe.prefix,
            task=variants[0].exported.config.task.name,
            labels=list(self.corpus.labels),
            metric=task.metric,
            data_fingerprint=self.corpus.fingerprint,
            code_version=records.code_version(),
            host=timed.host,
            noisy=timed.noisy,
            aa_ratio=timed.aa_ratio,
            test_split=self.corpus.has_test,
            floor=floor,
            val_floor=val_floor,
            val_frames=max(candidate.config.model.frames for candidate in exported),
            confidence=recipe.confidence,
            variants_at_95=len(choose(judged, recipe, reference, 0.95)),
            variants=_flag_test_scores(rows, floor, task.metric),
            left_out=sorted(rejected, key=lambda row: row.latency_ms),
        )

    def _export(self, trials: Sequence[TrialRecord]) -> tuple[list[Exported], list[LeftOut]]:
        """Train again, export into the study's candidates/, and compare the files with their networks."""
        fitted, failed = refit(
            trials, self.study, self.folder, self.corpus, self.recipe.refit, self.runtime, self.on_step
        )
        target = self.folder / CANDIDATES_FOLDER
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        exported, unfit = export_all(fitted, target, self.corpus, self.runtime, self.recipe.parity, self.on_step)
        rejected = [left_out(trial, reason) for trial, reason in failed] + unfit
        if not exported:
            reasons = "; ".join(f"trial {row.trial_id}: {row.reason}" for row in rejected)
            raise StudyError(f"{self.folder}: no candidate could be exported, got {reasons}; search on")
        return exported, rejected

    def _time(self, exported: Sequence[Exported]) -> LatencySession:
        self.on_step(f"timing {quantity(len(exported), 'candidate')}, interleaved")
        # On the host of the search, latencies refer to the study's reference; on another host, to that host's own.
        reference_ms = self.study.reference_ms if self.study.host == host() else None
        return session([candidate.artifact for candidate in exported], self.runtime, self.recipe.timing, reference_ms)

    def _floor(self, task: Task, split: str) -> float:
        """The score of the best constant answer on a split."""
        return task.floor(windows(self.corpus, split, 1).targets)

    def _score(self, task: Task, variants: Sequence[Candidate], scratch: Path) -> list[VariantRow]:
        """Name the chosen candidates and score them on the test split, if there is one."""
        tests: dict[str, Corpus] = {}
        if self.corpus.has_test:
            self.on_step("scoring the chosen variants on the test split")
            code = SPLIT_NAMES.index("test")
            conditions = task.conditions.items()
            tests = {"": self.corpus} | {name: changed(self.corpus, code, how, task) for name, how in conditions}
        names = ladder.names(len(variants), self.recipe.prefix)
        pairs = zip(names, variants, strict=True)
        return [_variant(name, variant, tests, self.runtime, scratch) for name, variant in pairs]


def _variant(
    name: str, candidate: Candidate, tests: Mapping[str, Corpus], runtime: Choice, scratch: Path
) -> VariantRow:
    """Name a candidate, and score its final file on the test split, which nothing else uses.

    `tests` holds the unchanged corpus under "", and the corpus with changed test pictures under the name of each
    condition. It is empty without a test split.
    """
    final = Path(shutil.copyfile(candidate.exported.artifact, scratch / f"{name}.onnx"))
    exported = replace(candidate.exported, artifact=final)
    kind, latency, fitted = exported.config.task_kind, candidate.latency, exported.fitted
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
        size_bytes=final.stat().st_size,
        params=fitted.record.params or 0,
        runtime=latency.runtime,
        onnx=f"{LADDER_FOLDER}/{final.name}",
        sha256=records.sha256(final),
        config=fitted.record.config,
        trial_id=fitted.trial.trial_id,
        notes=[str(exported.parity), *([NOISY_MACHINE] if latency.noisy else [])],
    )


def _tested(exported: Exported, corpus: Corpus, runtime: Choice) -> Evidence:
    outputs = np.concatenate(list(predictions(exported.artifact, corpus, "test", runtime)))
    return judged(exported, corpus, "test", outputs)


def _flag_test_scores(rows: Sequence[VariantRow], floor: float | None, metric: Metric) -> list[VariantRow]:
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
