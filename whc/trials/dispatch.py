"""Trials on Ray's workers: each has one core and a part of a GPU, and maps the data without a copy."""

from __future__ import annotations

import gc
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from whc.data.dataset import Corpus
from whc.records import CurvePoint, TrialRecord, write_atomic
from whc.trials import cluster
from whc.trials.config import TrialConfig
from whc.trials.packing import Packing
from whc.trials.run import Assignment, run

WAIT_POLL_S = 1.0


@dataclass(frozen=True)
class TrialJob:
    """A trial for a worker: its configuration, its assignment, and its share of a GPU."""

    config: TrialConfig
    assignment: Assignment
    gpu: float = 0.0


def packing(corpus: Corpus) -> Packing:
    """How trainings on this data share the GPUs of the cluster."""
    return Packing(gpu_bytes(), corpus.image_bytes, corpus.labels)


def gpu_bytes() -> int:
    """Memory of the cluster's smallest GPU, 0 without any; asks one GPU of each node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    ask = ray.remote(num_cpus=0, num_gpus=1)(_gpu_bytes)
    strategies = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    sizes_bytes = ray.get([ask.options(scheduling_strategy=strategy).remote() for strategy in strategies])
    return min(sizes_bytes, default=0)


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

    def report_wait(reason: str) -> None:
        tune.report({"timer_lost": reason, "val_score": 0.0})

    try:
        with _on_this_machine(job.assignment) as assignment:
            timer = assignment.timer and assignment.timer.telling(report_wait)
            record = run(job.config, corpus, replace(assignment, timer=timer), report)
    except Exception:  # noqa: BLE001 (the driver reports it: a full disk, no memory, or a bug)
        gc.collect()  # frees what a training out of memory still holds, for the next trial on this worker
        torch.cuda.empty_cache()
        tune.report({"state": "failed", "val_score": 0.0, "error": traceback.format_exc()})
    else:
        tune.report({"state": record.state, "val_score": record.val_score or 0.0, "error": ""})


@contextmanager
def _on_this_machine(assignment: Assignment) -> Iterator[Assignment]:
    """The assignment with local folders, whose files are stored at the end."""
    if assignment.storage is None:
        yield assignment
        return
    cache = Path(tempfile.gettempdir()) / f"whc-latency-{os.getuid()}"
    with tempfile.TemporaryDirectory(prefix="whc-trial-") as folder:
        trial_folder = Path(folder) / assignment.trial_id  # named after the trial: reading its record checks the name
        trial_folder.mkdir()
        yield replace(assignment, folder=trial_folder, cache=cache)
        assignment.storage.store(assignment.trial_id, trial_folder)


def run_all(
    jobs: Sequence[TrialJob], corpus: Corpus, workers: int, on_wait: Callable[[str], None] = lambda reason: None
) -> Iterator[tuple[int, TrialRecord | str]]:
    """Run jobs on a cluster of this machine, as many at once as there are workers.

    Args:
        jobs: trials to run; their shares of a GPU are set here.
        corpus: the decoded data.
        workers: trials at once; each gets one core.
        on_wait: called with the reason when a trial begins to wait for its timer, and with "" when none waits any more.

    Returns:
        As they end: the index of a job in `jobs`, and its record, or the reason why there is none.
    """
    if not jobs:
        return
    with cluster.started(workers, corpus.nbytes), tempfile.TemporaryDirectory(prefix="whc-waits-") as scratch:
        import ray

        waits = _Waits(Path(scratch), on_wait)
        shared, packed = ray.put(corpus), packing(corpus)
        work = ray.remote(num_cpus=1, max_retries=1)(_work)
        shares = (packed.share(job.config, alone=False) for job in jobs)
        running = {
            work.options(num_gpus=share).remote(job, shared, waits.note(place)): place
            for place, (job, share) in enumerate(zip(jobs, shares, strict=True))
        }
        while running:
            ended_calls, _ = ray.wait(list(running), timeout=WAIT_POLL_S)
            waits.tell()
            for ended_call in ended_calls:
                place = running.pop(ended_call)
                try:
                    yield place, ray.get(ended_call)
                except ray.exceptions.WorkerCrashedError:
                    yield place, "the worker died twice"
                except ray.exceptions.RayTaskError as error:
                    # The cause itself, because Ray's error class loses the name of the file.
                    raise error.cause if isinstance(error.cause, OSError) else error from error


def _work(job: TrialJob, corpus: Corpus, note: Path) -> TrialRecord:
    torch.set_num_threads(1)
    assignment = job.assignment
    timer = assignment.timer and assignment.timer.telling(lambda reason: write_atomic(note, reason))
    try:
        return run(job.config, corpus, replace(assignment, timer=timer), lambda point: None)
    finally:
        note.unlink(missing_ok=True)


class _Waits:
    """Why trials in other processes wait for their timer: each has a file for its reason."""

    def __init__(self, folder: Path, on_wait: Callable[[str], None]) -> None:
        self._folder, self._on_wait, self._reason = folder, on_wait, ""

    def note(self, place: int) -> Path:
        """The file of a trial."""
        return self._folder / f"{place}.txt"

    def tell(self) -> None:
        """Pass a reason on when it is new, and "" when the last one is over."""
        reasons = []
        for note in sorted(self._folder.glob("[0-9]*.txt")):
            with suppress(FileNotFoundError):  # it ends meanwhile
                reasons.append(note.read_text("utf-8"))
        reason = next(filter(None, reasons), "")
        if reason != self._reason:
            self._reason = reason
            self._on_wait(reason)


def resources(parameters: Mapping[str, TrialJob]) -> Any:
    """Resources that Ray Tune reserves for the job in its parameters."""
    from ray.tune import PlacementGroupFactory

    gpu = parameters["job"].gpu
    return PlacementGroupFactory([{"CPU": 1, **({"GPU": gpu} if gpu else {})}])
