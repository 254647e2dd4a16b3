"""Trials on Ray's workers: one core each and a part of a GPU, data mapped from the object store without a copy."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from whc.data.dataset import Corpus
from whc.errors import UsageError, problem
from whc.records import CurvePoint, TrialRecord
from whc.trials.config import TrialConfig
from whc.trials.packing import Packing
from whc.trials.run import Assignment, run
from whc.trials.storage import RUNG, RUNG_CHECKPOINT

START = "start one with `ray start --head`, or leave it out"
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # snapshots of Ray's own state, which nobody reads and which grow
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


@contextmanager
def joined(address: str) -> Iterator[int]:
    """A running Ray cluster, joined for the length of the context; gives its number of cores.

    Args:
        address: `host:port` of its head, or `auto` for the one that runs on this machine.

    Raises:
        UsageError: nobody answers there, or it is no Ray cluster of the same version.
    """
    os.environ.update(SETTINGS)
    if address != "auto":
        _check_answers(address)
    import ray

    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": SETTINGS},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(problem("--address", f"must be a Ray cluster ({reason})", address, START)) from error
    try:
        cores = int(ray.cluster_resources().get("CPU", 0))
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(cores)
        yield cores
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(problem("--address", "must be HOST:PORT or auto", address, START))
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        rule = f"must be a Ray cluster that can be reached ({error})"
        raise UsageError(problem("--address", rule, address, START)) from error


def several_nodes() -> bool:
    """Whether a cluster has been joined that has more nodes than this one."""
    ray = sys.modules.get("ray")  # not imported here: it reads its settings when it is
    return ray is not None and ray.is_initialized() and len([node for node in ray.nodes() if node["Alive"]]) > 1


def packing(corpus: Corpus) -> Packing:
    """How trainings on this data share the GPUs of the cluster."""
    return Packing(gpu_bytes(), {size: array.nbytes for size, array in corpus.images.items()})


def gpu_bytes() -> int:
    """Memory of the cluster's smallest GPU, 0 without any; one of each node is asked."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    ask = ray.remote(num_cpus=0, num_gpus=1)(_gpu_bytes)
    there = (NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes)
    found = ray.get([ask.options(scheduling_strategy=one).remote() for one in there])
    return min(found, default=0)


def _gpu_bytes() -> int:
    return int(torch.cuda.mem_get_info()[1])


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

    try:
        with _at_hand(assignment) as here:
            record = run(config, corpus, here, report)
    except Exception:  # noqa: BLE001 (the driver tells whatever it is: a full disk, no memory left, a bug)
        gc.collect()  # what a training out of memory still holds would be missing to the next one here
        torch.cuda.empty_cache()
        tune.report({"state": "failed", "val_f1": 0.0, "error": traceback.format_exc()})
    else:
        tune.report({"state": record.state, "val_f1": record.val_f1 or 0.0, "error": ""})


@contextmanager
def _at_hand(assignment: Assignment) -> Iterator[Assignment]:
    """The assignment with folders of this machine: what the trial goes on from is fetched, what it leaves is stored."""
    if assignment.storage is None:
        yield assignment
        return
    own = Path(tempfile.gettempdir()) / f"whc-latency-{os.getuid()}"
    with tempfile.TemporaryDirectory(prefix="whc-trial-") as folder:
        here = Path(folder)
        assignment.storage.fetch(assignment.trial_id, (RUNG_CHECKPOINT, RUNG), here)
        yield replace(assignment, folder=here, cache=own)
        assignment.storage.store(assignment.trial_id, here)


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

        shared, packed = ray.put(corpus), packing(corpus)
        work = ray.remote(num_cpus=1, max_retries=1)(_work)
        shares = (packed.share(TrialConfig.model_validate(job["config"]), alone=False) for job in jobs)
        calls = (work.options(num_gpus=share).remote(job, shared) for job, share in zip(jobs, shares, strict=True))
        running = {call: place for place, call in enumerate(calls)}
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


def job(config: TrialConfig, assignment: Assignment, gpu: float = 0.0) -> dict[str, Any]:
    """The job for one trial, as `trainable` takes it; `gpu` is the part of a GPU that it shall have."""
    return {"config": config.resolved(), "assignment": assignment, "gpu": gpu}


def resources(job: dict[str, Any]) -> Any:
    """What Ray Tune shall set aside for a job."""
    from ray.tune import PlacementGroupFactory

    return PlacementGroupFactory([{"CPU": 1, **({"GPU": job["gpu"]} if job["gpu"] else {})}])
