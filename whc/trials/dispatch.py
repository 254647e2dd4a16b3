"""Trials on Ray's workers: one core each and a part of a GPU, data mapped from the object store without a copy."""

from __future__ import annotations

import gc
import os
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from whc.data.dataset import Corpus
from whc.records import CurvePoint, TrialRecord
from whc.trials import cluster
from whc.trials.config import TrialConfig
from whc.trials.packing import Packing
from whc.trials.run import Assignment, run
from whc.trials.storage import RUNG, RUNG_CHECKPOINT


@dataclass(frozen=True)
class TrialJob:
    """A trial for a worker: what it trains, where and under what rules, and on what part of a GPU."""

    config: TrialConfig
    assignment: Assignment
    gpu: float = 0.0


def packing(corpus: Corpus) -> Packing:
    """How trainings on this data share the GPUs of the cluster."""
    image_bytes = {size: array.nbytes for size, array in corpus.images.items()}
    return Packing(gpu_bytes(), image_bytes, corpus.labels)


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


def trainable(parameters: Mapping[str, TrialJob], corpus: Corpus) -> None:
    """What a Ray Tune worker runs for one trial.

    Args:
        parameters: Ray Tune's, whose only key is `job`.
        corpus: the decoded data.
    """
    from ray import tune

    torch.set_num_threads(1)
    job = parameters["job"]

    def report(point: CurvePoint) -> None:
        tune.report({"epoch": point.epoch, "val_score": point.val_score})

    try:
        with _at_hand(job.assignment) as here:
            record = run(job.config, corpus, here, report)
    except Exception:  # noqa: BLE001 (the driver tells whatever it is: a full disk, no memory left, a bug)
        gc.collect()  # what a training out of memory still holds would be missing to the next one here
        torch.cuda.empty_cache()
        tune.report({"state": "failed", "val_score": 0.0, "error": traceback.format_exc()})
    else:
        tune.report({"state": record.state, "val_score": record.val_score or 0.0, "error": ""})


@contextmanager
def _at_hand(assignment: Assignment) -> Iterator[Assignment]:
    """The assignment with folders of this machine: what the trial goes on from is fetched, what it leaves is stored."""
    if assignment.storage is None:
        yield assignment
        return
    own = Path(tempfile.gettempdir()) / f"whc-latency-{os.getuid()}"
    with tempfile.TemporaryDirectory(prefix="whc-trial-") as folder:
        here = Path(folder) / assignment.trial_id  # as everywhere, or a record found there is not believed
        here.mkdir()
        assignment.storage.fetch(assignment.trial_id, (RUNG_CHECKPOINT, RUNG), here)
        yield replace(assignment, folder=here, cache=own)
        assignment.storage.store(assignment.trial_id, here)


def run_all(jobs: Sequence[TrialJob], corpus: Corpus, workers: int) -> Iterator[tuple[int, TrialRecord | str]]:
    """Run jobs on a cluster of this machine, as many at once as there are workers.

    Args:
        jobs: of which the part of a GPU is found here.
        corpus: the decoded data.
        workers: trials at once; each gets one core.

    Returns:
        As they end: the place of a job in `jobs`, and its record, or why it left none.
    """
    if not jobs:
        return
    with cluster.started(workers, sum(array.nbytes for array in corpus.images.values())):
        import ray

        shared, packed = ray.put(corpus), packing(corpus)
        work = ray.remote(num_cpus=1, max_retries=1)(_work)
        shares = (packed.share(job.config, alone=False) for job in jobs)
        calls = (work.options(num_gpus=share).remote(job, shared) for job, share in zip(jobs, shares, strict=True))
        running = {call: place for place, call in enumerate(calls)}
        while running:
            (done,), _ = ray.wait(list(running))
            place = running.pop(done)
            try:
                yield place, ray.get(done)
            except ray.exceptions.WorkerCrashedError:
                yield place, "the worker died twice"
            except ray.exceptions.RayTaskError as error:
                # Ray's own class of it would lose which file the operating system refused.
                raise error.cause if isinstance(error.cause, OSError) else error from error


def _work(job: TrialJob, corpus: Corpus) -> TrialRecord:
    torch.set_num_threads(1)
    return run(job.config, corpus, job.assignment, lambda point: None)


def resources(parameters: Mapping[str, TrialJob]) -> Any:
    """What Ray Tune shall set aside for the job in its parameters."""
    from ray.tune import PlacementGroupFactory

    gpu = parameters["job"].gpu
    return PlacementGroupFactory([{"CPU": 1, **({"GPU": gpu} if gpu else {})}])
