"""Ray Tune's side of the driver: where it asks for work, and where it tells that work moved on or ended.

What Ray calls a trial is one stretch of ours, from one rung to the next: Ray's own pausing would hold a worker's place.
"""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from whc.search.running.driver import Driver
from whc.trials.dispatch import TrialJob


class Bridge(Searcher):
    """Gives Ray Tune the driver's next job, and gives the driver each trial that is over."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(metric="val_f1", mode="max")
        self._driver = driver
        self._ours: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next job; None while there is none, or Ray's word for none left."""
        job = self._driver.next_job()
        if job is None:
            return str(Searcher.FINISHED) if self._driver.over else None
        self._ours[trial_id] = job.assignment.trial_id
        return {"job": job}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial's worker is done; what it reached is in its record, not in `result`."""
        ours = self._ours.pop(trial_id, None)
        if ours is not None:
            self._driver.ended(ours, "the worker died" if error else (result or {}).get("error", ""))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: a search is resumed from its records."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore, as nothing is saved."""

    def __getstate__(self) -> dict[str, Any]:
        # Ray snapshots its searcher; the driver holds locks and open files, and no snapshot is ever read.
        return {}


class ProgressCallback(Callback):
    """Tells the driver how far the running trials are."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A worker has taken a trial."""
        self._driver.runs(trial.config["job"].assignment.trial_id, "starts")

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has ended an epoch."""
        if "epoch" in result:
            what = f"epoch {result['epoch']} val_f1 {result['val_f1']:.3f}"
            job: TrialJob = trial.config["job"]
            until = job.assignment.until or job.config.training.epochs
            self._driver.runs(job.assignment.trial_id, what, result["epoch"], until)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial is over: Ray Tune keeps it as long as the search runs, but not what nobody asks of it again."""
        trial.config.clear()
        trial.evaluated_params.clear()
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {}
