"""Connects Ray Tune to the driver: Ray asks for jobs here, and reports the progress and the end of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from whc.search.running.driver import Driver
from whc.trials.dispatch import TrialJob


@contextmanager
def _halts(driver: Driver) -> Iterator[None]:
    """What is raised ends the search, once the running trials have ended.

    Ray Tune would only log it and go on, and wait for ever for the trial that the driver did not take in.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 (it is raised when Ray Tune has ended)
        driver.halted = driver.halted or error


class Bridge(Searcher):
    """Gives Ray Tune the driver's next job, and tells the driver when a job is done."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(metric="val_score", mode="max")
        self._driver = driver
        self._own_ids: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Ray's parameters of the next job; None while there is no job, Ray's own word when none will come."""
        job = None
        with _halts(self._driver):
            job = self._driver.next_job()
        if job is None:
            return str(Searcher.FINISHED) if self._driver.over else None
        self._own_ids[trial_id] = job.assignment.trial_id
        return {"job": job}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A job is done; its outcome is in the trial's record, not in `result`."""
        own_id = self._own_ids.pop(trial_id, None)
        if own_id is not None:
            with _halts(self._driver):
                self._driver.ended(own_id, "the worker died" if error else (result or {}).get("error", ""))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: a search is resumed from its records."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore, as nothing is saved."""

    def __getstate__(self) -> dict[str, Any]:
        # Ray snapshots its searcher; the driver holds locks and open files, and no snapshot is ever read.
        return {}


class ProgressCallback(Callback):
    """Tells the driver about the progress of running trials."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A worker has taken a trial."""
        with _halts(self._driver):
            self._driver.runs(trial.config["job"].assignment.trial_id, "starts")

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has ended an epoch, or its timer has gone or come back."""
        with _halts(self._driver):
            job: TrialJob = trial.config["job"]
            if "timer_lost" in result:
                self._driver.timer_lost(job.assignment.trial_id, result["timer_lost"])
            if "epoch" in result:
                metric = self._driver.study.metric
                what = f"epoch {result['epoch']} val_{metric.key} {metric.value(result['val_score']):.3f}"
                self._driver.runs(job.assignment.trial_id, what, result["epoch"], job.config.training.epochs)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial is over: Ray Tune keeps it as long as the search runs, but not what nobody asks of it again."""
        trial.config.clear()
        trial.last_result.pop("config", None)  # a second copy, from the worker
        trial.experiment_tag = ""  # a third one, in words
        trial.evaluated_params.clear()
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {}
