"""The bridge to Optuna, which samples: ask it for a configuration, and tell it the result.

Optuna's journal is a view of the trial records: it can be rebuilt from them at any time, and is on every start.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from whc.errors import StudyError, problem
from whc.records import StudyRecord, TrialRecord
from whc.search.sampling.improvement import Chooser, Observation
from whc.search.space import space
from whc.trials.config import TrialConfig
from whc.trials.run import OUT_OF_MEMORY

OBJECTIVE_DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]  # val_score, log of the latency in ms
LATENCY_KEY = "latency_ms"
BEGIN_TRIALS = 8  # that `auto` observes before it fits its processes
MAX_REDRAWS = 200


def _tpe(seed: int) -> BaseSampler:
    return optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)


SAMPLER_FACTORIES: dict[str, Callable[[int], BaseSampler]] = {
    "auto": lambda seed: optuna.samplers.RandomSampler(seed=seed),  # it draws nothing: whc enqueues what it chose
    "tpe": _tpe,
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


def constraints(record: TrialRecord, study: StudyRecord) -> dict[str, float]:
    """How far a trial is over each limit: value / limit - 1, feasible when zero or less.

    A trial that is not clearly better than the constant predictor is over a limit too: it can never become a variant,
    and without this constraint the fastest useless networks would hold the cheap end of the front. In a study made
    before, a trial that was cut short is over by the share of its training that is missing.
    """
    values = {
        "latency_ms": record.latency.ms if record.latency else None,
        "size_bytes": record.size_bytes,
        "params": record.params,
        "peak_memory_bytes": record.peak_memory_bytes,
    }
    over = {name: value / study.limits[name] - 1 for name, value in values.items() if value and name in study.limits}
    if record.val_score is not None:
        over["floor"] = study.floor + study.min_over_floor - record.val_score
    if record.reason == OUT_OF_MEMORY:
        over["memory"] = 1.0  # at least: how much memory it needs is not known
    if record.state == "stopped":
        over["unfinished"] = 1 - len(record.curve) / record.config["training"]["epochs"]
    return over


def objectives(record: TrialRecord) -> list[float] | None:
    """The score and the log of the milliseconds of a finished trial that has both; None of any other."""
    if record.state != "finished" or record.val_score is None or record.latency is None:
        return None
    return [record.val_score, math.log(record.latency.ms)]


def _state(record: TrialRecord) -> TrialState:
    if objectives(record):
        return TrialState.COMPLETE
    return TrialState.FAIL if record.state in ("failed", "finished") else TrialState.PRUNED


def _open(storage: BaseStorage, name: str, sampler: BaseSampler | None = None) -> optuna.Study:
    return optuna.create_study(
        storage=storage, sampler=sampler, study_name=name, directions=OBJECTIVE_DIRECTIONS, load_if_exists=True
    )


def _rebuilt(journal: Path, name: str, trials: Sequence[FrozenTrial]) -> JournalStorage:
    """A journal that holds these trials and nothing else, whatever it held before."""
    fresh = journal.with_name(f".{journal.name}.tmp")
    fresh.unlink(missing_ok=True)
    for path in (fresh, journal):
        # A killed search leaves Optuna's lock behind, and Optuna would wait for it; the study's own lock is ours.
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    _open(JournalStorage(JournalFileBackend(str(fresh))), name).add_trials(trials)
    fresh.replace(journal)
    return JournalStorage(JournalFileBackend(str(journal)))


class Sampler:
    """Asks Optuna for configurations and tells it what became of them.

    Call `ask` for each new trial, and `tell` once with its record, in any order.

    Args:
        tree: the compiled space.
        study: whose sampler, limits and seed.
        journal: Optuna's file, None to keep everything in memory.
    """

    def __init__(self, tree: space.Section, study: StudyRecord, journal: Path | None) -> None:
        self._tree = tree
        self._record = study
        self._journal = journal
        self._asked: dict[str, optuna.Trial] = {}
        self._study: optuna.Study | None = None
        self._chooser = Chooser(tree, study.labels or None, study.floor, study.limits.get(LATENCY_KEY), study.seed)
        self._observations: dict[tuple[str, str], Observation] = {}

    def start(self, records: Sequence[TrialRecord], earlier: Sequence[TrialRecord] = ()) -> None:
        """Open the study, its journal made anew from the records.

        Args:
            records: this study's trials that have ended.
            earlier: trials of other studies to learn from, as `warm_start.earlier_trials` gives them.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        distributions = space.distributions(self._tree)
        trials = [self._frozen(record, distributions) for record in [*earlier, *records]]
        storage = InMemoryStorage() if self._journal is None else _rebuilt(self._journal, self._record.study, trials)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of TPE's `multivariate` and `group`
            # Another seed after a resume, or the first draws would be those of the trials already run.
            sampler = SAMPLER_FACTORIES[self._record.sampler](self._record.seed + len(records))
        self._study = _open(storage, self._record.study, sampler)
        if self._journal is None:
            self._study.add_trials(trials)
        for record in [*earlier, *records]:
            self._observe(record)

    def _frozen(self, record: TrialRecord, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
        gone = sorted(record.drawn.keys() - distributions.keys())
        if gone:
            rule = f"the space must hold what trial {record.trial_id} drew"
            raise StudyError(problem(self._record.study, rule, gone, "put study.yaml back as it was"))
        state = _state(record)
        return optuna.trial.create_trial(
            state=state,
            values=objectives(record),
            params=record.drawn,
            distributions={key: distributions[key] for key in record.drawn},
            user_attrs={
                "study": record.study,
                "trial_id": record.trial_id,
                "state": record.state,
                LATENCY_KEY: record.latency.ms if record.latency else None,
            },
            constraints=None if state == TrialState.FAIL else constraints(record, self._record),
        )

    def ask(self, trial_id: str) -> tuple[TrialConfig, dict[str, Any]]:
        """A configuration that can be built, and what was drawn for it.

        Raises:
            StudyError: nothing the space draws can be built.
        """
        assert self._study is not None  # noqa: S101 (start comes first)
        if self._record.sampler == "auto":
            self._study.enqueue_trial(self._chosen())
        reason = ""
        for _ in range(MAX_REDRAWS):
            trial = self._study.ask()
            try:
                config = TrialConfig.model_validate(space.suggest(self._tree, trial))
            except ValueError as error:  # parts that do not fit each other, or a rule of the space that is broken
                reason = str(error)
                if isinstance(error, ValidationError):
                    reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                trial.set_user_attr("reason", reason)
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            trial.set_user_attr("study", self._record.study)
            trial.set_user_attr("trial_id", trial_id)
            self._asked[trial_id] = trial
            return config, dict(trial.params)
        raise StudyError(f"space: must hold networks that can be built, got none in {MAX_REDRAWS} draws; {reason}")

    @property
    def largest_gain(self) -> float | None:
        """The hypervolume that one trial can be expected to add; None with samplers that expect nothing, and early."""
        return self._chooser.largest_gain

    def _chosen(self) -> dict[str, Any]:
        """What `auto` tries next."""
        observations = list(self._observations.values())
        running = [trial.params for trial in self._asked.values()]
        if len(observations) < BEGIN_TRIALS:
            return self._chooser.begin([*(observation.drawn for observation in observations), *running])
        return self._chooser.choose(observations, running)

    def _observe(self, record: TrialRecord) -> None:
        """Keep what `auto` learns from: latency, and the score of a whole training (nothing, where it failed)."""
        if record.latency is None or not record.drawn:
            return
        score = {"finished": record.val_score, "failed": 0.0}.get(record.state)
        self._observations[record.study, record.trial_id] = Observation(record.drawn, record.latency.ms, score)

    def tell(self, record: TrialRecord) -> None:
        """What became of a trial that was asked for."""
        assert self._study is not None  # noqa: S101 (start comes first)
        trial = self._asked.pop(record.trial_id, None)
        if trial is None:
            return
        self._observe(record)
        trial.set_user_attr("state", record.state)
        trial.set_user_attr(LATENCY_KEY, record.latency.ms if record.latency else None)
        state = _state(record)
        if state != TrialState.FAIL:
            for name, over in constraints(record, self._record).items():
                trial.set_constraint(name, over)
        self._study.tell(trial, objectives(record), state)
