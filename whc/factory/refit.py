"""The front's candidates trained again, at full length and with several seeds: one lucky run is not a variant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from whc import records
from whc.data.dataset import Corpus
from whc.errors import StudyError
from whc.factory.recipe import Refit
from whc.pareto import Point, best_subset
from whc.plugins import Choice
from whc.records import StudyRecord, TrialRecord
from whc.records.results import point_of
from whc.trials import dispatch
from whc.trials.config import TrialConfig
from whc.trials.dispatch import TrialJob
from whc.trials.run import Assignment, Limits
from whc.words import quantity

FOLDER, CHECKPOINT, ARTIFACT = "refit", "checkpoint.pt", "model.onnx"


@dataclass(frozen=True)
class Fitted:
    """A trial of the front with the training of it that may ship.

    `trial` is the search's, `record` that of the training in `folder` (the same where nothing is trained again);
    `seeds` holds the validation score of every training, by seed.
    """

    trial: TrialRecord
    record: TrialRecord
    folder: Path
    seeds: Mapping[str, float]


def shortlist(front: Sequence[TrialRecord], count: int, reference: Point) -> list[TrialRecord]:
    """At most `count` trials of a front: both ends, and of the rest the best by hypervolume."""
    return [front[i] for i in best_subset([point_of(trial) for trial in front], count, reference)]


def refit(
    trials: Sequence[TrialRecord],
    study: StudyRecord,
    folder: Path,
    corpus: Corpus,
    settings: Refit,
    runtime: Choice,
    on_step: Callable[[str], None],
) -> tuple[list[Fitted], list[tuple[TrialRecord, str]]]:
    """Train each trial once for every seed; what an earlier build has trained on the same data is not trained again.

    Args:
        trials: of the search's front.
        study: they are of.
        folder: the study's.
        corpus: its data, decoded.
        settings: how often and how long.
        runtime: of the study.
        on_step: told what happens.

    Returns:
        Each trial with its best training by validation score; and the trials of which none succeeded, with the reason.
    """
    if not settings.seeds:
        found = [Fitted(trial, trial, folder / "trials" / trial.trial_id, _seeds([trial])) for trial in trials]
        return found, []
    made: dict[str, list[TrialRecord]] = {trial.trial_id: [] for trial in trials}
    missing: list[tuple[str, TrialJob]] = []
    for trial, seed in product(trials, range(settings.seeds)):
        assignment, config = _assign(trial, seed, study, folder, runtime), _config(trial, seed, settings)
        earlier = _earlier(assignment, config, corpus)
        if earlier:
            made[trial.trial_id].append(earlier)
        else:
            missing.append((trial.trial_id, TrialJob(config, assignment)))
    on_step(f"training again: {len(missing)} of {quantity(len(trials) * settings.seeds, 'training')} to do")
    metric = TrialConfig.model_validate(trials[0].config).task_kind.metric
    reasons: dict[str, str] = {}
    for done, (which, outcome) in enumerate(dispatch.run_all([job for _, job in missing], corpus, study.workers), 1):
        trial_id = missing[which][0]
        if isinstance(outcome, TrialRecord) and outcome.state == "finished":
            made[trial_id].append(outcome)
            reached = metric.shown(outcome.val_score or 0.0)
            on_step(f"training again: {done} of {len(missing)}, trial {trial_id} reached val {reached}")
        else:
            reasons[trial_id] = outcome if isinstance(outcome, str) else outcome.reason
    fitted = [_best(trial, made[trial.trial_id], folder) for trial in trials if made[trial.trial_id]]
    failed = [(t, f"training it again failed: {reasons[t.trial_id]}") for t in trials if not made[t.trial_id]]
    return fitted, failed


def _best(trial: TrialRecord, made: Sequence[TrialRecord], folder: Path) -> Fitted:
    best = max(made, key=lambda record: (record.val_score or 0.0, -record.seed))
    return Fitted(trial, best, folder / FOLDER / best.trial_id, _seeds(made))


def _seeds(made: Sequence[TrialRecord]) -> dict[str, float]:
    return {str(record.seed): record.val_score or 0.0 for record in sorted(made, key=lambda made: made.seed)}


def _assign(trial: TrialRecord, seed: int, study: StudyRecord, folder: Path, runtime: Choice) -> Assignment:
    name = f"{trial.trial_id}-{seed}"
    cache = folder.parent / ".latency"
    return Assignment(name, study.study, folder / FOLDER / name, Limits(), runtime, study.reference_ms, cache, {})


def _config(trial: TrialRecord, seed: int, settings: Refit) -> TrialConfig:
    config = TrialConfig.model_validate(trial.config)
    changes = {"seed": seed, "epochs": settings.epochs or config.training.epochs}
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


def _earlier(job: Assignment, config: TrialConfig, corpus: Corpus) -> TrialRecord | None:
    """The record of the same training, if it is over and succeeded."""
    try:
        record = records.load_trial(job.folder / "record.json", job.study)
    except StudyError:
        return None
    same = record.config_hash == config.hash and record.data_fingerprint == corpus.fingerprint
    return record if same and record.state == "finished" and is_whole(record, job.folder, CHECKPOINT) else None


def is_whole(record: TrialRecord, folder: Path, name: str) -> bool:
    """Whether a file in a trial's folder is the one that the trial wrote."""
    path = folder / name
    return path.is_file() and records.sha256(path) == record.files.get(name)
