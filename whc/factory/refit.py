"""Training the best trials again, at full length and with several seeds, as one run may be lucky."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from pathlib import Path
from statistics import fmean

from whc import records
from whc.data.dataset import Corpus
from whc.errors import StudyError
from whc.factory.recipe import Refit
from whc.latency.timer import Timer
from whc.pareto import Point, best_subset
from whc.plugins import Choice
from whc.records import StudyRecord, TrialRecord
from whc.records.results import point_of, trials_by_rank
from whc.trials import dispatch
from whc.trials.config import TrialConfig
from whc.trials.dispatch import TrialJob
from whc.trials.run import Assignment, Limits
from whc.words import quantity

REFIT_FOLDER, CHECKPOINT_FILE, ARTIFACT_FILE = "refit", "checkpoint.pt", "model.onnx"


@dataclass(frozen=True)
class Fitted:
    """A candidate: a trial with its best training.

    `trial` is the search's record, `record` that of the training in `folder` (the same if nothing is trained again).
    `trainings` are all of them, by seed. `note` tells people what is special about them.
    """

    trial: TrialRecord
    record: TrialRecord
    folder: Path
    trainings: Sequence[TrialRecord]
    note: str = ""

    @property
    def seeds(self) -> dict[str, float]:
        """The validation score of every training, by seed."""
        return {str(record.seed): record.val_score or 0.0 for record in self.trainings}


def candidate_fronts(ended: Iterable[TrialRecord], settings: Refit) -> list[list[TrialRecord]]:
    """The fronts that candidates are taken from, by rank: as many as are needed, or the first if none trains again."""
    fronts = trials_by_rank(ended)
    if not settings.seeds:
        return fronts[:1]
    is_enough = [total >= settings.candidates for total in accumulate(map(len, fronts))]
    return fronts[: is_enough.index(True) + 1] if any(is_enough) else fronts


def shortlist(fronts: Sequence[Sequence[TrialRecord]], count: int, reference: Point) -> list[TrialRecord]:
    """At most `count` trials, fastest first: of the front both ends and the best by hypervolume, then of the next.

    Args:
        fronts: trials by non-dominated rank, the front first. Trained for longer, one behind the front may be on it.
        count: how many trials, at least 1.
        reference: as for `whc.pareto.hypervolume`.
    """
    chosen: list[TrialRecord] = []
    for trials in fronts:
        if len(chosen) < count:
            places = best_subset([point_of(trial) for trial in trials], count - len(chosen), reference)
            chosen += [trials[place] for place in places]
    return sorted(chosen, key=lambda trial: point_of(trial).cost)


@dataclass(frozen=True)
class Training:
    """One training of a candidate, with its record if an earlier build has finished it."""

    trial: TrialRecord
    job: TrialJob
    earlier: TrialRecord | None

    @property
    def expected_s(self) -> float:
        """Seconds it should take on one worker, by the epochs of the search; 0 if it is finished."""
        if self.earlier or not self.trial.curve:
            return 0.0
        return self.job.config.training.epochs * fmean(point.seconds for point in self.trial.curve)


def trainings_of(
    trials: Sequence[TrialRecord],
    study: StudyRecord,
    folder: Path,
    data: str,
    settings: Refit,
    runtime: Choice,
    timer: Timer | None,
) -> list[Training]:
    """Every training that a recipe asks for, trial by trial; `data` is the fingerprint of the study's data.

    A training depends on the trial's configuration, the seed, the epochs, and the data. As those of the search, it is
    not done again for another version of whc or torch.
    """
    trainings = []
    for trial, seed in product(trials, range(settings.seeds)):
        assignment, config = _assign(trial, seed, study, folder, runtime, timer), _config(trial, seed, settings)
        trainings.append(Training(trial, TrialJob(config, assignment), _earlier(assignment, config, data)))
    return trainings


def refit(
    trials: Sequence[TrialRecord],
    planned: Sequence[Training],
    folder: Path,
    corpus: Corpus,
    workers: int,
    on_step: Callable[[str], None],
    on_share: Callable[[float], None] = lambda share: None,
    stage: str = "training again",
) -> tuple[list[Fitted], list[tuple[TrialRecord, str]]]:
    """Train each trial once for every seed; trainings of an earlier build on the same data are reused.

    Args:
        trials: the candidates.
        planned: their trainings, as `trainings_of` gives them; empty if the search's are used.
        folder: the study's folder.
        corpus: the study's data, decoded.
        workers: trainings at once.
        on_step: called with a line at each step.
        on_share: called with the share of the work that is done.
        stage: what this is called in the steps.

    Returns:
        Each trial with its best training by validation score; and the trials whose trainings all failed, with a reason.
    """
    if not planned:
        return [as_searched(trial, folder) for trial in trials], []
    missing = [training for training in planned if not training.earlier]
    trainings: dict[str, list[TrialRecord]] = {trial.trial_id: [] for trial in trials}
    for training in planned:
        trainings[training.trial.trial_id] += [training.earlier] if training.earlier else []
    on_step(f"{stage}: {len(missing)} of {quantity(len(planned), 'training')} to do")
    metric = TrialConfig.model_validate(trials[0].config).task_kind.metric
    reasons: dict[str, str] = {}
    expected_s, done_s = sum(training.expected_s for training in missing), 0.0
    jobs = [training.job for training in missing]
    outcomes = dispatch.run_all(jobs, corpus, workers, lambda reason: on_step(reason or "the timer is back"))
    for count, (place, outcome) in enumerate(outcomes, 1):
        trial_id = missing[place].trial.trial_id
        done_s += missing[place].expected_s
        on_share(done_s / expected_s if expected_s else 1.0)
        if isinstance(outcome, TrialRecord) and outcome.state == "finished":
            trainings[trial_id].append(outcome)
            reached = metric.shown(outcome.val_score or 0.0)
            on_step(f"{stage}: {count} of {len(missing)}, trial {trial_id} reached val {reached}")
        else:
            reasons[trial_id] = outcome if isinstance(outcome, str) else outcome.reason
    fitted = [best_training(trial, trainings[trial.trial_id], folder) for trial in trials if trainings[trial.trial_id]]
    without = [trial for trial in trials if not trainings[trial.trial_id]]
    failed = [(trial, f"{stage} failed: {reasons[trial.trial_id]}") for trial in without]
    return fitted, failed


def as_searched(trial: TrialRecord, folder: Path) -> Fitted:
    """A trial of a study's folder that is not trained again."""
    return Fitted(trial, trial, folder / "trials" / trial.trial_id, [trial])


def best_training(trial: TrialRecord, trainings: Sequence[TrialRecord], folder: Path) -> Fitted:
    """A trial of a study's folder with the best of its trainings by validation score."""
    best = max(trainings, key=lambda record: (record.val_score or 0.0, -record.seed))
    by_seed = sorted(trainings, key=lambda record: record.seed)
    return Fitted(trial, best, folder / REFIT_FOLDER / best.trial_id, by_seed)


def _assign(
    trial: TrialRecord, seed: int, study: StudyRecord, folder: Path, runtime: Choice, timer: Timer | None
) -> Assignment:
    name, cache = f"{trial.trial_id}-{seed}", folder.parent / ".latency"
    target, reference_ms = folder / REFIT_FOLDER / name, study.reference_ms
    return Assignment(name, study.study, target, Limits(), runtime, reference_ms, cache, {}, timer=timer)


def _config(trial: TrialRecord, seed: int, settings: Refit) -> TrialConfig:
    config = TrialConfig.model_validate(trial.config)
    changes = {"seed": seed, "epochs": settings.epochs or config.training.epochs}
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


def _earlier(job: Assignment, config: TrialConfig, data: str) -> TrialRecord | None:
    """The record of the same training, if it has finished."""
    try:
        record = records.load_trial(job.folder / "record.json", job.study)
    except StudyError:
        return None
    is_same = record.config_hash == config.hash and record.data_fingerprint == data
    return record if is_same and record.state == "finished" and is_whole(record, job.folder, CHECKPOINT_FILE) else None


def is_whole(record: TrialRecord, folder: Path, name: str) -> bool:
    """Whether a file in a trial's folder is the one that the trial wrote."""
    path = folder / name
    return path.is_file() and records.sha256(path) == record.files.get(name)
