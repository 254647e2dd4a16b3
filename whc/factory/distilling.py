"""Distillation: the fastest candidates learn from the best one, and compete with what they are without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whc.data.unlabelled import Unlabelled
from whc.factory.finished import FinishedResults
from whc.factory.recipe import Distil
from whc.factory.refit import CHECKPOINT_FILE, Fitted
from whc.records import TrialRecord
from whc.trials.config import TrialConfig
from whc.trials.learning import suits

NO_TEACHER = "nothing teaches it: of the candidates with its frames and shape of pictures it is the best itself"


@dataclass(frozen=True)
class Student:
    """A candidate that learns from another.

    `trial` is the search's record as if it had this `teacher`, with an id of its own. The teacher is None where the
    candidate is the best of those that it could learn from. `note` tells people what it learns from.
    """

    trial: TrialRecord
    teacher: Fitted | None
    note: str = ""


def students(
    candidates: Sequence[TrialRecord],
    fitted: Sequence[Fitted],
    settings: Distil,
    finished: FinishedResults,
    pictures: Unlabelled | None,
) -> list[Student]:
    """The fastest candidates, each with the best of those that see the same.

    Args:
        candidates: fastest first.
        fitted: their trainings.
        settings: how many learn.
        finished: has a place for the checkpoint of each teacher, by its content and that of the pictures: a
            configuration that names this place says all that the training depends on.
        pictures: what they look at beside the training split.
    """
    return [_student(trial, fitted, finished, pictures) for trial in candidates[: settings.students]]


def _student(
    trial: TrialRecord, fitted: Sequence[Fitted], finished: FinishedResults, pictures: Unlabelled | None
) -> Student:
    config = TrialConfig.model_validate(trial.config)
    suitable = [other for other in fitted if suits(TrialConfig.model_validate(other.record.config), config)]
    teacher = max(suitable, key=lambda other: other.record.val_score or 0.0, default=None)
    renamed = trial.model_copy(update={"trial_id": f"{trial.trial_id}-distilled"})
    if teacher is None or teacher.trial.trial_id == trial.trial_id:
        return Student(renamed, None)
    place = finished.file(_depends_on(teacher, pictures), teacher.folder / CHECKPOINT_FILE).absolute()
    changes = {"teacher": str(place), "teacher_heads": None}
    taught = config.model_copy(update={"training": config.training.model_copy(update=changes)})
    changed = renamed.model_copy(update={"config": taught.resolved(), "config_hash": taught.hash})
    score = config.task_kind.metric.shown(teacher.record.val_score or 0.0)
    note = f"distilled from trial {teacher.trial.trial_id} (seed {teacher.record.seed}, validation {score})"
    return Student(changed, teacher, f"{note}, also with {pictures}" if pictures else note)


def keep_teachers(taught: Sequence[Student], finished: FinishedResults, pictures: Unlabelled | None) -> None:
    """Put the checkpoints of the teachers where the students' configurations name them."""
    for student in taught:
        if student.teacher:
            finished.keep_file(_depends_on(student.teacher, pictures), student.teacher.folder / CHECKPOINT_FILE)


def _depends_on(teacher: Fitted, pictures: Unlabelled | None) -> dict[str, str]:
    checkpoint = teacher.record.files[CHECKPOINT_FILE]
    return {"checkpoint": checkpoint, "pictures": pictures.table.fingerprint if pictures else ""}
