"""The bridge between Optuna, which samples, and Ray Tune, which runs: ask and tell, nothing lost on the way.

Optuna's journal is a view of the trial records: it can be rebuilt from them at any time, and is on every start.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState
from pydantic import ValidationError

from whc.errors import StudyError, problem
from whc.records import StudyRecord, TrialRecord
from whc.search import space
from whc.trials.config import TrialConfig

DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]  # val_f1, latency in milliseconds
MAX_REDRAWS = 200
CLEARLY = 0.05  # F1 above the constant predictor's, what recipes ask by default


def constraints(record: TrialRecord, study: StudyRecord) -> dict[str, float]:
    """How far a trial is over each limit: value / limit - 1, feasible when zero or less.

    A trial that is not clearly better than the constant predictor is over a limit too: nothing like it is ever named,
    and without this the fastest useless networks would hold the cheap end of the front.
    """
    values = {
        "latency_ms": record.latency.ms if record.latency else None,
        "size_bytes": record.size_bytes,
        "params": record.params,
    }
    over = {name: value / study.limits[name] - 1 for name, value in values.items() if value and name in study.limits}
    if record.val_f1 is not None:
        over["constant_f1"] = study.constant_f1 + CLEARLY - record.val_f1
    return over


def objectives(record: TrialRecord) -> list[float] | None:
    """(val_f1, latency_ms) of a finished trial; None for any other, which must never look finished."""
    if record.state != "finished" or record.val_f1 is None or record.latency is None:
        return None
    return [record.val_f1, record.latency.ms]


class Sampler:
    """Asks Optuna for configurations and tells it what became of them.

    Call `ask` for each new trial and `tell` once for each record, in any order.
    """

    def __init__(self, tree: space.Section, study: StudyRecord, journal: Path) -> None:
        self._tree = tree
        self._record = study
        self._journal = journal
        self._asked: dict[str, optuna.Trial] = {}
        self._study: optuna.Study | None = None

    def start(self, ended: Iterable[TrialRecord]) -> None:
        """Open the study with what has ended before, its journal made anew from the records."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        fresh = self._journal.with_name(f".{self._journal.name}.tmp")
        fresh.unlink(missing_ok=True)
        for journal in (fresh, self._journal):
            # A killed search leaves Optuna's lock behind, and Optuna would wait for it; the study's own lock is ours.
            journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
        records = list(ended)
        study = self._open(fresh, len(records))
        known = space.distributions(self._tree)
        for record in records:
            study.add_trial(self._frozen(record, known))
        fresh.replace(self._journal)
        self._study = self._open(self._journal, len(records))

    def _open(self, journal: Path, ended: int) -> optuna.Study:
        # Another seed after a resume, or the first draws would be those of the trials already run.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of `multivariate` and `group`
            sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=self._record.seed + ended)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        return optuna.create_study(
            storage=storage,
            sampler=sampler,
            study_name=self._record.study,
            directions=DIRECTIONS,
            load_if_exists=True,
        )

    def _frozen(self, record: TrialRecord, known: Mapping[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
        values = objectives(record)
        state = TrialState.COMPLETE if values else TrialState.PRUNED if record.state != "failed" else TrialState.FAIL
        gone = sorted(record.drawn.keys() - known.keys())
        if gone:
            rule = f"the space must hold what trial {record.trial_id} drew"
            raise StudyError(problem(self._record.study, rule, gone, "put study.yaml back as it was"))
        return optuna.trial.create_trial(
            state=state,
            values=values,
            params=record.drawn,
            distributions={key: known[key] for key in record.drawn},
            user_attrs={"trial_id": record.trial_id, "state": record.state},
            constraints=constraints(record, self._record) if state != TrialState.FAIL else None,
        )

    def ask(self, trial_id: str) -> tuple[TrialConfig, dict[str, Any]]:
        """A configuration that can be built, and what was drawn for it.

        Raises:
            StudyError: nothing the space draws can be built.
        """
        assert self._study is not None  # noqa: S101 (start comes first)
        reason = ""
        for _ in range(MAX_REDRAWS):
            trial = self._study.ask()
            try:
                config = TrialConfig.model_validate(space.suggest(self._tree, trial))
            except ValidationError as error:
                reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                trial.set_user_attr("reason", reason)
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            trial.set_user_attr("trial_id", trial_id)
            self._asked[trial_id] = trial
            return config, dict(trial.params)
        raise StudyError(f"space: must hold networks that can be built, got none in {MAX_REDRAWS} draws; {reason}")

    def tell(self, record: TrialRecord) -> None:
        """What became of a trial that was asked for."""
        assert self._study is not None  # noqa: S101 (start comes first)
        trial = self._asked.pop(record.trial_id, None)
        if trial is None:
            return
        trial.set_user_attr("state", record.state)
        if record.state == "failed":
            self._study.tell(trial, state=TrialState.FAIL)
            return
        for name, over in constraints(record, self._record).items():
            trial.set_constraint(name, over)
        values = objectives(record)
        if values is None:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, values)
