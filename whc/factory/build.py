"""Build a ladder: front -> refit -> export -> parity -> timing -> choice -> test score -> table -> observers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from whc import records
from whc.data import dataset
from whc.data.dataset import Corpus
from whc.data.unlabelled import Unlabelled, joined
from whc.data.windows import windows
from whc.errors import StudyError
from whc.factory import details, table
from whc.factory.artifacts import NOT_TIMED_HERE, add_artifacts
from whc.factory.distilling import NO_TEACHER, keep_teachers, students
from whc.factory.front import Candidate, Exported, candidates, export_all, left_out, score_all
from whc.factory.opening import BuildRequest, StudyToBuild, check_data, open_study
from whc.factory.other_files import PLAIN_ONNX, for_ladder
from whc.factory.plan import ARTIFACTS, COMPARING, DISTILLING, MAKING, SCORING, TIMING, TRAINING, Countdown, plan_of
from whc.factory.recipe import Distil, LadderKind
from whc.factory.refit import Fitted, refit
from whc.factory.selection import choose, why_not
from whc.factory.variants import LADDER_FOLDER, final_files, flag_test_scores, name_and_score
from whc.latency.bench import session
from whc.latency.timer import place_of
from whc.latency.timer.client import RemoteTimer
from whc.plugins import Choice
from whc.records import (
    LadderObserver,
    LadderTable,
    LatencySession,
    LeftOut,
    StudyRecord,
    TrialRecord,
    TriedArtifact,
    VariantRow,
)
from whc.runtimes import name_for, suffix_of
from whc.tasks import Task
from whc.trials.config import TrialConfig
from whc.trials.learning import image_sizes
from whc.words import moment, quantity

CANDIDATES_FOLDER = "candidates"

Refitted = tuple[list[Fitted], list[tuple[TrialRecord, str]]]
"""The trials that were trained, and the others, each with the reason."""


def build_table(
    folder: Path,
    request: BuildRequest,
    observers: Sequence[LadderObserver],
    on_step: Callable[[str], None],
    on_left: Callable[[float], None] = lambda seconds: None,
    timer: RemoteTimer | None = None,
) -> tuple[LadderTable, list[str]]:
    """Build the ladder of a study; it replaces an earlier ladder only when it is complete.

    What earlier builds have finished is reused, also after one was killed.

    Args:
        folder: the study's folder.
        request: what is asked.
        observers: called with the finished ladder.
        on_step: called with a line at each step, for a progress display.
        on_left: called with the seconds that are left, as an estimate, before the line of a step; 0: unknown.
        timer: the device that times the candidates; None for this machine.

    Returns:
        The table, and the lines that the observers return.

    Raises:
        StudyError: no finished trials, no candidate passed its gates, or the study is in use.
        DataError: the data set is gone or has changed.
        ArtifactError: `latency_from` is of other files.
    """
    next_step = "write it again with `whc bench --out`"
    measured = records.load(LatencySession, request.latency_from, next_step) if request.latency_from else None
    with records.locked(folder):
        opened = open_study(folder, request, timer)
        on_step("decoding the data")
        corpus, pictures = _load(opened.study, folder, opened.candidates), opened.more_pictures()
        scratch, former = folder / f".{LADDER_FOLDER}.tmp", folder / f".{LADDER_FOLDER}.old"
        for leftover in (scratch, former):
            shutil.rmtree(leftover, ignore_errors=True)
        scratch.mkdir()
        countdown = Countdown(plan_of(opened, request, pictures).seconds, on_left)
        built = _Work(opened, request, corpus, pictures, on_step, countdown).table(measured, scratch)
        with table.written(built, opened.trials, folder):
            # A process killed from here on leaves no table.json, rather than a table of another ladder's files.
            (folder / "table.json").unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                (folder / LADDER_FOLDER).rename(former)
            scratch.rename(folder / LADDER_FOLDER)
        shutil.rmtree(former, ignore_errors=True)
        opened.finished.forget_unused()
        if observers:
            on_left(0)
            on_step("handing the ladder on")
        lines = [line for observer in observers for line in observer.ladder_built(built, folder)]
    return built, lines


def _load(study: StudyRecord, folder: Path, trials: Sequence[TrialRecord]) -> Corpus:
    configs = [TrialConfig.model_validate(record.config) for record in trials]
    paths = study.data_paths(folder)
    corpus = dataset.load(paths, set().union(*map(image_sizes, configs)), configs[0].task_kind)
    check_data(study, corpus.fingerprint)
    return corpus


@dataclass(frozen=True)
class _Work:
    """One build, with all that its steps need; `pictures` are those of the recipe's `distil.data`."""

    opened: StudyToBuild
    request: BuildRequest
    corpus: Corpus
    pictures: Unlabelled | None
    on_step: Callable[[str], None]
    countdown: Countdown

    def table(self, measured: LatencySession | None, scratch: Path) -> LadderTable:
        """Choose each ladder among the candidates, and score the chosen ones; their files go to `scratch`."""
        opened = self.opened
        exported, rejected = self._export()
        rejected += [
            left_out(trial, opened.recipe.refit.beyond) for trial in opened.front if trial not in opened.candidates
        ]
        self.countdown.begin(MAKING)
        entrants = [self._entrants(kind, exported) for kind in opened.ladders]
        self.countdown.begin(TIMING)
        sessions = [
            self._latencies(kind, entered, measured)
            for kind, (entered, _) in zip(opened.ladders, entrants, strict=True)
        ]
        self.countdown.begin(SCORING)
        ladders: list[LadderTable] = []
        chosen: dict[str, Candidate] = {}
        for kind, (entered, unfit), timed in zip(opened.ladders, entrants, sessions, strict=True):
            ladder, variants = self._ladder(kind, entered, [*rejected, *unfit], timed, scratch)
            ladders.append(ladder)
            chosen |= {row.name: variant for row, variant in zip(ladder.variants, variants, strict=True)}
        details.write(chosen, self.corpus, opened.recipe.thumbnails, scratch, opened.finished, self.on_step)
        return ladders[0].model_copy(update={"others": ladders[1:]})

    def _entrants(self, kind: LadderKind, exported: Sequence[Exported]) -> tuple[list[Exported], list[LeftOut]]:
        """The candidates as files of a ladder's kind, run on its runtime."""
        opened = self.opened
        if (kind.artifact, kind.runtime) == (PLAIN_ONNX, opened.runtime):
            return list(exported), []
        folder = opened.folder / CANDIDATES_FOLDER
        entrants, unfit = for_ladder(exported, kind, self.corpus, folder, opened.finished, self.on_step)
        if not entrants:
            raise self._nothing_left(kind, unfit)
        return entrants, unfit

    def _latencies(
        self, kind: LadderKind, entrants: Sequence[Exported], measured: LatencySession | None
    ) -> LatencySession:
        """The latencies of a ladder's candidates; of those `measured` elsewhere, what the ladder's runtime gave."""
        if measured is None:
            return self._time([entrant.artifact for entrant in entrants], "candidate", kind.runtime)
        if not self.opened.recipe.ladders:
            return measured
        files = [file for file in measured.files if file.latency.runtime == kind.runtime.name]
        return measured.model_copy(update={"files": files})

    def _ladder(
        self,
        kind: LadderKind,
        entrants: Sequence[Exported],
        rejected: list[LeftOut],
        timed: LatencySession,
        scratch: Path,
    ) -> tuple[LadderTable, list[Candidate]]:
        """One ladder, and the candidate of each of its variants."""
        opened, recipe = self.opened, self.opened.recipe
        task = TrialConfig.model_validate(opened.front[0].config).task_for(self.corpus.labels)
        source = f"{self.request.latency_from}: {kind}" if recipe.ladders else str(self.request.latency_from)
        judged, untimed = candidates(entrants, score_all(entrants, self.corpus), timed, source)
        reference = opened.reference([candidate.latency.ms for candidate in judged])
        variants = choose(judged, recipe, reference, recipe.confidence)
        others = [candidate for candidate in judged if candidate not in variants]
        rejected += untimed + [why_not(candidate, judged, variants, recipe, reference) for candidate in others]
        if not variants:
            raise self._nothing_left(kind, rejected)
        files = final_files(variants, str(kind.prefix), self.corpus, recipe.smoothing, scratch)
        if self.corpus.has_test:
            self.on_step("scoring the chosen variants on the test split")
        rows = name_and_score(variants, files, task, self.corpus, kind.runtime)
        rows = self._add_artifacts(kind, rows, variants, scratch)
        floor = self._floor(task, "test") if self.corpus.has_test else None
        ladder = LadderTable(
            study=opened.study.study,
            prefix=str(kind.prefix),
            artifact=kind.artifact.name,
            runtime=kind.runtime.dump(),
            task=variants[0].exported.config.task.name,
            labels=list(self.corpus.labels),
            metric=task.metric,
            data_fingerprint=self.corpus.fingerprint,
            code_version=records.code_version(),
            host=timed.host,
            timed_at=timed.timed_at,
            noisy=timed.noisy,
            aa_ratio=timed.aa_ratio,
            test_split=self.corpus.has_test,
            floor=floor,
            val_floor=self._floor(task, "val"),
            val_frames=max(candidate.config.model.frames for candidate in entrants),
            confidence=recipe.confidence,
            variants_at_95=len(choose(judged, recipe, reference, 0.95)),
            variants=flag_test_scores(rows, floor, task.metric),
            left_out=sorted(rejected, key=lambda row: row.latency_ms),
        )
        return ladder, variants

    def _nothing_left(self, kind: LadderKind, rejected: Sequence[LeftOut]) -> StudyError:
        rule = "no candidate passed the recipe's gates"
        next_step = "search on, or change the recipe"
        if self.opened.recipe.ladders:
            rule, next_step = f"{rule} for the ladder of {kind}", f"{next_step}, or pick ladders with --runtime"
        return StudyError(f"{self.opened.folder}: {rule}, got {_reasons(rejected)}; {next_step}")

    def _export(self) -> tuple[list[Exported], list[LeftOut]]:
        """Train again, export into the study's candidates/, and compare the files with their networks."""
        opened, recipe = self.opened, self.opened.recipe
        self.countdown.begin(TRAINING)
        fitted, failed = self._refit(opened.candidates, self.corpus, TRAINING)
        if recipe.distil:
            distilled, untaught = self._distil(recipe.distil, fitted)
            fitted, failed = [*fitted, *distilled], [*failed, *untaught]
        target = opened.folder / CANDIDATES_FOLDER
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        self.countdown.begin(COMPARING)
        exported, unfit = export_all(
            fitted, target, self.corpus, opened.runtime, recipe.parity, opened.finished, self.on_step
        )
        rejected = [left_out(trial, reason) for trial, reason in failed] + unfit
        if not exported:
            raise StudyError(f"{opened.folder}: no candidate could be exported, got {_reasons(rejected)}; search on")
        return exported, rejected

    def _refit(self, trials: Sequence[TrialRecord], corpus: Corpus, stage: str) -> Refitted:
        opened, share = self.opened, self.countdown.share
        planned, workers = opened.trainings_of(trials), opened.study.workers
        return refit(trials, planned, opened.folder, corpus, workers, self.on_step, share, stage)

    def _distil(self, settings: Distil, fitted: Sequence[Fitted]) -> Refitted:
        """Train the fastest candidates with the best one as their teacher."""
        opened, pictures = self.opened, self.pictures
        self.countdown.begin(DISTILLING)
        taught = students(opened.candidates, fitted, settings, opened.finished, pictures)
        keep_teachers(taught, opened.finished, pictures)
        trials, corpus = [student.trial for student in taught if student.teacher], self.corpus
        if pictures:
            self.on_step(f"distilling: with {pictures}")
            if not all(training.earlier for training in opened.trainings_of(trials)):
                corpus = joined(corpus, pictures, opened.task_kind)
        distilled, failed = self._refit(trials, corpus, DISTILLING) if trials else ([], [])
        notes = {student.trial.trial_id: student.note for student in taught}
        untaught = [(student.trial, NO_TEACHER) for student in taught if not student.teacher]
        return [replace(training, note=notes[training.trial.trial_id]) for training in distilled], failed + untaught

    def _time(self, paths: Sequence[Path], what: str, runtime: Choice) -> LatencySession:
        """The session that an earlier build kept, or a new one."""
        opened = self.opened
        depends_on = opened.timing_depends_on([records.sha256(path) for path in paths], runtime)
        earlier = opened.finished.session(depends_on)
        if earlier and not self.request.retime:
            self.on_step(f"latencies of {moment(earlier.timed_at)} are reused")
            return earlier
        runs = name_for(suffix_of(paths[0]), place_of(runtime, opened.timer).runtime)
        self.on_step(f"timing {quantity(len(paths), what)} on {runs}, interleaved")
        timer = opened.timer and opened.timer.telling(lambda reason: self.on_step(reason or "the timer is back"))
        if opened.study.timer and not timer:
            self.on_step(f"on this machine: only --time-on does so on {opened.study.host}, as the search did")
        # Where the search timed, latencies refer to the study's reference; elsewhere, to that host's own.
        timed = session(paths, runtime, opened.recipe.timing, opened.reference_ms(runtime), timer)
        if not timed.failed:  # the reason may have been the machine's
            opened.finished.keep_session(depends_on, timed)
        return timed

    def _add_artifacts(
        self, kind: LadderKind, rows: list[VariantRow], variants: Sequence[Candidate], scratch: Path
    ) -> list[VariantRow]:
        """The rows of the first ladder of ONNX files with the recipe's other kinds of file, timed where these were."""
        opened = self.opened
        of_onnx = [ladder for ladder in opened.ladders if ladder.artifact.name == "onnx"]
        if not opened.recipe.artifacts or kind not in of_onnx[:1]:
            return rows
        if self.request.latency_from:
            tried = [TriedArtifact(kind=kind.name, verdict=NOT_TIMED_HERE) for kind in opened.recipe.artifacts]
            return [row.model_copy(update={"artifacts": tried}) for row in rows]
        self.countdown.begin(ARTIFACTS)
        return add_artifacts(
            rows,
            variants,
            opened.recipe,
            self.corpus,
            scratch,
            opened.finished,
            lambda paths: self._time(paths, "file", kind.runtime),
            self.on_step,
            kind.runtime,
        )

    def _floor(self, task: Task, split: str) -> float:
        """The score of the best constant answer on a split."""
        return task.floor(windows(self.corpus, split, 1).targets)


def _reasons(rejected: Sequence[LeftOut]) -> str:
    return "; ".join(f"trial {row.trial_id}: {row.reason}" for row in rejected)
