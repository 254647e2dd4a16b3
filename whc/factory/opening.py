"""A study as a build opens it: its recipe, the ladders that are asked for, and its candidates; nothing is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whc import records
from whc.config import Settings, shipped
from whc.data import unlabelled
from whc.data.unlabelled import Unlabelled
from whc.errors import DataError, StudyError, UsageError, problem
from whc.factory.finished import FINISHED_FOLDER, FinishedResults
from whc.factory.other_files import PLAIN_ONNX, suffix_of
from whc.factory.recipe import MAX_PREFIX, LadderKind, Prefix, Recipe, read
from whc.factory.refit import Training, candidate_fronts, shortlist, trainings_of
from whc.latency import reference
from whc.latency.timer import TimingPlace, place_of
from whc.latency.timer.client import RemoteTimer
from whc.latency.timing import CALL_VERSION
from whc.pareto import Point
from whc.plugins import Choice
from whc.records import StudyRecord, TrialRecord
from whc.records.results import point_of, reference_point
from whc.runtimes import name_for, suited
from whc.tasks import Task
from whc.trials.config import TrialConfig
from whc.words import quantity


class BuildRequest(Settings):
    """What a user asks of a build.

    `recipe` is the name or path of a recipe (None: the study's), `prefix` begins the names of the first ladder (None:
    the recipe's). Of the recipe's ladders those on a runtime in `runtimes` are built (none named: all). `latency_from`
    is the result of `whc bench --out` for the study's candidates on another device; None to
    time them here, with `retime` even if an earlier build has.
    """

    recipe: str | None = None
    prefix: Prefix | None = None
    runtimes: tuple[str, ...] = ()
    latency_from: Path | None = None
    retime: bool = False


@dataclass(frozen=True)
class StudyToBuild:
    """A study, its recipe, its trials that are over, and the candidates among them, fastest first.

    `ladders` are those to build, each with its prefix. `front` is the study's front, whose trials are all candidates or
    named as left out. `timer` times the candidates, None: this machine does.
    """

    folder: Path
    study: StudyRecord
    recipe: Recipe
    ladders: Sequence[LadderKind]
    trials: Sequence[TrialRecord]
    front: Sequence[TrialRecord]
    candidates: Sequence[TrialRecord]
    finished: FinishedResults
    timer: RemoteTimer | None = None

    @property
    def runtime(self) -> Choice:
        """The study's runtime."""
        return self.study.chosen_runtime

    @property
    def task_kind(self) -> type[Task]:
        """What is predicted, whatever the labels."""
        return TrialConfig.model_validate(self.front[0].config).task_kind

    def more_pictures(self) -> Unlabelled | None:
        """The pictures of the recipe's `distil.data`; None without.

        Raises:
            DataError: they cannot be used.
        """
        settings = self.recipe.distil
        if settings is None or settings.data is None:
            return None
        fastest = self.candidates[: settings.students]
        frames = max(TrialConfig.model_validate(trial.config).model.frames for trial in fastest)
        try:
            return unlabelled.read(settings.data, self.study.data_paths(self.folder), self.task_kind, frames)
        except DataError as error:
            raise DataError(f"distil.data: {error}") from error

    def trainings_of(self, trials: Sequence[TrialRecord]) -> list[Training]:
        """Every training of some trials that the recipe asks for."""
        data = self.study.data_fingerprint
        return trainings_of(trials, self.study, self.folder, data, self.recipe.refit, self.runtime, self.timer)

    def reference_ms(self, runtime: Choice) -> float | None:
        """The reference network's milliseconds beside files on a runtime.

        They are the study's where it was timed there; elsewhere None (measure).
        """
        study = self.study
        searched = study.timer.runtime if study.timer else self.runtime.dump()
        there = place_of(suited(Path(reference.FILE_NAME), runtime), self.timer)
        return study.reference_ms if there.identity == {"host": study.host, "runtime": searched} else None

    def reference(self, latencies_ms: Sequence[float]) -> Point:
        """The reference point of hypervolumes: what every variant must beat."""
        min_score = self.study.floor + self.recipe.min_over_floor
        return reference_point(min_score, self.study.limits.get("latency_ms"), latencies_ms)

    def timing_depends_on(self, artifacts: Sequence[str], runtime: Choice) -> dict[str, Any]:
        """What a timing session depends on; `artifacts` are the hashes of the files, in their order."""
        return {
            "artifacts": list(artifacts),
            "protocol": self.recipe.timing.model_dump(),
            "call": CALL_VERSION,
            **place_of(runtime, self.timer).identity,
            "reference_ms": self.reference_ms(runtime),
        }


def open_study(folder: Path, request: BuildRequest, timer: RemoteTimer | None = None) -> StudyToBuild:
    """Read a study and choose its candidates; nothing is written.

    Raises:
        StudyError: no trial has finished, or a record is damaged.
        UsageError: the recipe has errors, none of its ladders is asked for, or what makes or times a file is not here.
    """
    study = StudyRecord.load(folder)
    recipe = read(shipped("factory", request.recipe or study.recipe))
    ladders = _ladders(recipe, study, request)
    recipe.model_copy(update={"ladders": ladders if recipe.ladders else []}).check_installed()
    if recipe.ladders and timer:
        _check_timer(ladders, timer.place)
    trials = list(records.trial_records(folder))
    fronts = candidate_fronts(trials, recipe.refit)
    if not fronts:
        got = f"{quantity(len(trials), 'trial')}, none finished"
        next_step = f"search on with `whc search --resume --study {study.study} --trials {study.trials + len(trials)}`"
        raise StudyError(problem(str(folder), "must hold finished trials", got, next_step))
    opened = StudyToBuild(
        folder, study, recipe, ladders, trials, fronts[0], (), FinishedResults(folder / FINISHED_FOLDER), timer
    )
    reference = opened.reference([point_of(trial).cost for trial in fronts[0]])
    return replace(opened, candidates=shortlist(fronts, recipe.refit.candidates, reference))


def _ladders(recipe: Recipe, study: StudyRecord, request: BuildRequest) -> list[LadderKind]:
    """The ladders that are asked for, each with its prefix."""
    usual = LadderKind(artifact=PLAIN_ONNX, runtime=study.chosen_runtime)
    first, *others = recipe.ladders or [usual]
    prefix = request.prefix or first.prefix or recipe.prefix or prefix_of(study.space_name)
    if same := [ladder for ladder in others if ladder.prefix == prefix]:
        rule, next_step = "must be given for the first ladder, apart from the others' prefixes", "choose with --prefix"
        raise UsageError(problem("prefix", f"{rule} (it names {same[0]} too)", prefix, next_step))
    ladders = [first.model_copy(update={"prefix": prefix}), *others]
    runtimes = [ladder.runtime.name for ladder in ladders]
    if unknown := [name for name in request.runtimes if name not in runtimes]:
        rule = f"must be the runtime of one of the recipe's ladders ({', '.join(runtimes)})"
        raise UsageError(problem("--runtime", rule, unknown[0], "add such a ladder to the recipe's `ladders`"))
    return [ladder for ladder in ladders if not request.runtimes or ladder.runtime.name in request.runtimes]


def _check_timer(ladders: Sequence[LadderKind], place: TimingPlace) -> None:
    """Raise UsageError unless a timer runs the files of each ladder on the ladder's runtime."""
    for ladder in ladders:
        if (theirs := name_for(suffix_of(ladder.artifact), place.runtime)) != ladder.runtime.name:
            rule, got = f"must time the ladder of {ladder} on that runtime", f"{theirs} on {place.host}"
            next_step = "serve that runtime there with `whc bench --serve --runtime`, or pick ladders with --runtime"
            raise UsageError(problem("--time-on", rule, got, next_step))


def prefix_of(space_name: str) -> str:
    """The prefix of a ladder whose recipe has none: the name of its search file, as a prefix may be written."""
    return re.sub(r"[^a-z0-9]+", "_", space_name.lower()).strip("_")[:MAX_PREFIX].strip("_") or "model"


def check_data(study: StudyRecord, fingerprint: str) -> None:
    """Raise DataError unless the data are those that the study searched."""
    if fingerprint != study.data_fingerprint:
        rule = f"must be the data set that the study searched ({study.data_fingerprint})"
        raise DataError(problem(study.data_shown, rule, fingerprint, "put that file back, or search again"))
