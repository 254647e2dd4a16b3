"""What a build of a ladder does: its candidates, what of them is finished already, and how long the rest takes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from whc.data import dataset
from whc.data.unlabelled import Unlabelled
from whc.export.parity import Parity
from whc.factory.distilling import students
from whc.factory.front import has_artifact, parity_depends_on
from whc.factory.opening import BuildRequest, StudyToBuild, check_data
from whc.factory.other_files import PLAIN_ONNX, made_depends_on
from whc.factory.recipe import LadderKind, Recipe
from whc.factory.refit import (
    ARTIFACT_FILE,
    CHECKPOINT_FILE,
    Training,
    as_searched,
    best_training,
    is_whole,
)
from whc.latency.timing import ROUNDS_PER_LOAD, Protocol
from whc.records import TrialRecord

TRAINING, DISTILLING, COMPARING, MAKING = "training again", "distilling", "export and parity", "other kinds of file"
TIMING, SCORING, ARTIFACTS = "timing", "scores and drawings", "artifacts"
# Seconds on two cores, for estimates only.
WORKERS_START_S, COMPARISON_S, TIMING_START_S, LOAD_S, DRAWING_S, ARTIFACT_S = 5.0, 1.5, 1.5, 0.02, 0.5, 15.0
TEACHER_COST = 2.0  # of a training with a teacher, where 1 is that without


class PlannedCandidate(BaseModel):
    """A candidate: how often it is trained, how often of that still, and whether parity is still to be checked."""

    model_config = ConfigDict(frozen=True)

    trial_id: str
    trainings: int
    to_train: int
    to_compare: bool


class PlannedLadder(BaseModel):
    """A ladder: how many of its files are to be made and run on its runtime, and whether latencies are measured.

    `timed_at` is when those were that are reused.
    """

    model_config = ConfigDict(frozen=True)

    prefix: str
    kind: str
    to_make: int = 0
    is_timed: bool
    timed_at: datetime | None = None


class BuildPlan(BaseModel):
    """What a build will do. `seconds` are expected by stage, in order."""

    model_config = ConfigDict(frozen=True)

    study: str
    workers: int
    ladders: list[PlannedLadder]
    candidates: list[PlannedCandidate]
    seconds: dict[str, float]


def plan(opened: StudyToBuild, request: BuildRequest) -> BuildPlan:
    """What a build would do; nothing is written.

    Raises:
        DataError: the data set is gone or has changed.
    """
    table = dataset.read(opened.study.data_paths(opened.folder), opened.task_kind)
    check_data(opened.study, table.fingerprint)
    return plan_of(opened, request, opened.more_pictures())


def plan_of(opened: StudyToBuild, request: BuildRequest, pictures: Unlabelled | None) -> BuildPlan:
    """As `plan`, for a study whose data were checked; `pictures` are those of `distil.data`."""
    study, recipe = opened.study, opened.recipe
    refitted = opened.trainings_of(opened.candidates)
    distilled = _distilled(opened, refitted, pictures)
    planned: list[PlannedCandidate] = []
    compared: list[Compared] = []
    for trial, own in _by_trial([*refitted, *distilled], opened.candidates):
        to_train = sum(training.earlier is None for training in own)
        found = None if to_train else _compared(opened, trial, own)
        compared += found or []
        planned.append(
            PlannedCandidate(trial_id=trial.trial_id, trainings=len(own), to_train=to_train, to_compare=found is None)
        )
    is_whole = not any(candidate.to_compare for candidate in planned)
    ladders = [_planned(opened, kind, request, compared if is_whole else None, planned) for kind in opened.ladders]
    drawn = len(ladders) * min(recipe.max_variants, len(planned))
    timings = sum(ladder.is_timed for ladder in ladders)
    return BuildPlan(
        study=study.study,
        workers=study.workers,
        ladders=ladders,
        candidates=planned,
        seconds={
            TRAINING: _training_s(refitted, study.workers),
            DISTILLING: TEACHER_COST * _training_s(distilled, study.workers),
            COMPARING: COMPARISON_S * sum(candidate.to_compare for candidate in planned),
            MAKING: ARTIFACT_S * sum(ladder.to_make for ladder in ladders),
            TIMING: timings * _timing_s(recipe.timing, len(planned)),
            SCORING: DRAWING_S * drawn + 1,
            ARTIFACTS: _artifacts_s(recipe, drawn) if request.latency_from is None else 0.0,
        },
    )


class Compared(NamedTuple):
    """A candidate that passed parity: the record of its training, and the hash of its ONNX file."""

    record: TrialRecord
    artifact: str


def _planned(
    opened: StudyToBuild,
    kind: LadderKind,
    request: BuildRequest,
    compared: Sequence[Compared] | None,
    planned: Sequence[PlannedCandidate],
) -> PlannedLadder:
    """What a ladder still needs; `compared` are its candidates, None where that is not known yet."""
    named: dict[str, Any] = {"prefix": kind.prefix, "kind": str(kind)}
    is_usual = (kind.artifact, kind.runtime) == (PLAIN_ONNX, opened.runtime)
    if compared is None:
        to_make = 0 if is_usual else len(planned)
        return PlannedLadder(**named, to_make=to_make, is_timed=request.latency_from is None)
    hashes = [candidate.artifact for candidate in compared]
    to_make = 0
    if not is_usual:
        found = [opened.finished.arrays(made_depends_on(each.record, kind.artifact, kind.runtime)) for each in compared]
        to_make = sum(content is None for content in found)
        hashes = [
            hashlib.sha256(content["content"].tobytes()).hexdigest()
            for content in found
            if content and "content" in content
        ]
    session = None
    if not to_make and not request.retime:
        session = opened.finished.session(opened.timing_depends_on(hashes, kind.runtime))
    if request.latency_from:
        return PlannedLadder(**named, to_make=to_make, is_timed=False)
    timed_at = session.timed_at if session else None
    return PlannedLadder(**named, to_make=to_make, is_timed=session is None, timed_at=timed_at)


def _compared(opened: StudyToBuild, trial: TrialRecord, trainings: Sequence[Training]) -> list[Compared] | None:
    """A candidate if it passed parity, none if it failed; None if that is not known."""
    finished = [training.earlier for training in trainings if training.earlier]
    best = best_training(trial, finished, opened.folder) if finished else as_searched(trial, opened.folder)
    if not (has_artifact(best) and is_whole(best.record, best.folder, CHECKPOINT_FILE)):
        return None
    artifact = best.record.files[ARTIFACT_FILE]
    content = opened.finished.arrays(parity_depends_on(best.record, artifact, opened.runtime, opened.recipe.parity))
    if content is None:
        return None
    passed = Parity.model_validate_json(str(content["parity"])).passed
    return [Compared(best.record, artifact)] if passed else []


def _by_trial(
    trainings: Sequence[Training], candidates: Sequence[TrialRecord]
) -> list[tuple[TrialRecord, list[Training]]]:
    """The trainings of each candidate, and of each trial that is none itself; a candidate may have no training."""
    by_id: dict[str, tuple[TrialRecord, list[Training]]] = {trial.trial_id: (trial, []) for trial in candidates}
    for training in trainings:
        by_id.setdefault(training.trial.trial_id, (training.trial, []))[1].append(training)
    return list(by_id.values())


def _distilled(opened: StudyToBuild, refitted: Sequence[Training], pictures: Unlabelled | None) -> list[Training]:
    """The trainings with a teacher; all are to do where the teacher is still to be trained."""
    if opened.recipe.distil is None:
        return []
    finished = [training.earlier for training in refitted if training.earlier]
    fitted = [
        best_training(trial, [training.earlier for training in own if training.earlier], opened.folder)
        for trial, own in _by_trial(refitted, opened.candidates)
        if len(finished) == len(refitted)
    ]
    taught = students(opened.candidates, fitted, opened.recipe.distil, opened.finished, pictures)
    return opened.trainings_of([student.trial for student in taught if student.teacher or not fitted])


def _training_s(trainings: Sequence[Training], workers: int) -> float:
    expected_s = [training.expected_s for training in trainings if not training.earlier]
    if not expected_s:
        return 0.0
    return WORKERS_START_S + max(*expected_s, sum(expected_s) / workers)


def _timing_s(protocol: Protocol, candidates: int) -> float:
    """Seconds of a session on a quiet machine, with as many rounds as half of those between the least and the most."""
    files = candidates + 2  # the reference network and its twin
    rounds = (protocol.min_rounds + protocol.max_rounds) / 2
    loads = rounds / ROUNDS_PER_LOAD
    # Before each block one pass fills the caches, and clocks are read.
    return TIMING_START_S + min(protocol.max_s, files * (loads * LOAD_S + rounds * 1.5 * protocol.block_ms / 1000))


def _artifacts_s(recipe: Recipe, variants: int) -> float:
    kinds = len(recipe.artifacts)
    return kinds * variants * ARTIFACT_S + _timing_s(recipe.timing, variants * (kinds + 1)) if kinds else 0.0


class Countdown:
    """Seconds that a build still takes, from those that its plan expects of each stage.

    The rest of a stage is taken to be as fast as what is done of it.
    """

    def __init__(self, seconds: Mapping[str, float], on_left: Callable[[float], None]) -> None:
        self._seconds, self._on_left = dict(seconds), on_left
        self._stage, self._began = "", time.monotonic()

    def begin(self, stage: str) -> None:
        """A stage begins; those before it are over."""
        for name in list(self._seconds):
            if name == stage:
                break
            del self._seconds[name]
        self._stage, self._began = stage, time.monotonic()
        self._on_left(sum(self._seconds.values()))

    def share(self, done: float) -> None:
        """A share (0..1) of the present stage is done."""
        if done > 0:
            self._seconds[self._stage] = (time.monotonic() - self._began) * (1 - done) / done
            self._on_left(sum(self._seconds.values()))
