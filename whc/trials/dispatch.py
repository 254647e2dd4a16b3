"""Trials on Ray's workers: one core each, data mapped from the object store without a copy."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from whc.data.dataset import Corpus
from whc.records import CurvePoint, TrialRecord
from whc.trials.config import TrialConfig
from whc.trials.run import Assignment, run

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a banner even when told to be quiet
}


@contextmanager
def cluster(workers: int, corpus_bytes: int) -> Iterator[None]:
    """A Ray cluster on this machine for the length of the context.

    Args:
        workers: trials at once; each gets one core.
        corpus_bytes: size of the data that the object store must hold.
    """
    os.environ.update({**SETTINGS, "TUNE_MAX_PENDING_TRIALS_PG": str(workers)})
    import ray  # reads its settings when imported

    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=max(256 << 20, 2 * corpus_bytes),
    )
    try:
        yield
    finally:
        ray.shutdown()


def trainable(job: dict[str, Any], corpus: Corpus) -> None:
    """What a Ray Tune worker runs for one trial.

    Args:
        job: `config`, a resolved configuration, and `assignment`, an `Assignment`.
        corpus: the decoded data.
    """
    from ray import tune

    torch.set_num_threads(1)
    config = TrialConfig.model_validate(job["config"])
    assignment: Assignment = job["assignment"]

    def report(point: CurvePoint) -> None:
        tune.report({"epoch": point.epoch, "val_f1": point.val_f1})

    record = run(config, corpus, assignment, report)
    tune.report({"state": record.state, "val_f1": record.val_f1 or 0.0, "reason": record.reason})


def run_all(jobs: Sequence[dict[str, Any]], corpus: Corpus, workers: int) -> Iterator[tuple[int, TrialRecord | str]]:
    """Run jobs on a cluster of this machine, as many at once as there are workers.

    Args:
        jobs: as `job` makes them.
        corpus: the decoded data.
        workers: trials at once; each gets one core.

    Returns:
        As they end: the place of a job in `jobs`, and its record, or why it left none.
    """
    if not jobs:
        return
    with cluster(workers, sum(array.nbytes for array in corpus.images.values())):
        import ray

        shared = ray.put(corpus)
        work = ray.remote(num_cpus=1, max_retries=1)(_work)
        running = {work.remote(job, shared): place for place, job in enumerate(jobs)}
        while running:
            (done,), _ = ray.wait(list(running))
            place = running.pop(done)
            try:
                yield place, ray.get(done)
            except ray.exceptions.WorkerCrashedError:
                yield place, "the worker died twice"


def _work(job: dict[str, Any], corpus: Corpus) -> TrialRecord:
    torch.set_num_threads(1)
    config = TrialConfig.model_validate(job["config"])
    return run(config, corpus, job["assignment"], lambda point: None)


def job(config: TrialConfig, assignment: Assignment) -> dict[str, Any]:
    """The job for one trial, as `trainable` takes it."""
    return {"config": config.resolved(), "assignment": assignment}
