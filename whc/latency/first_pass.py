"""The first pass of a file that may come from anybody: it may contain an endless loop, or need all memory there is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil

from whc import plugins
from whc.errors import ArtifactError, RuntimeUnavailable
from whc.latency.child import ChildJob
from whc.latency.timing import Protocol
from whc.latency.watch import run_child
from whc.paths import is_file
from whc.plugins import Choice

WAIT_S = 5.0
BASE_MEMORY_BYTES = 2**30
WEIGHT_COPIES = 4  # a file's weights as read, as laid out for the processor, and in between
STACK_BYTES = 16 * 2**20
PICTURE_BYTES = 16 * 2**20  # EfficientNet-B0 takes 32 MB for each picture of 224x224 pixels in a batch


def check(path: Path, runtime: Choice, wait_s: float = WAIT_S, batch: int = 1) -> None:
    """Load a file and run it once, on black pictures, in a process of its own.

    Args:
        path: the artifact.
        runtime: runtime plug-in with its parameters.
        wait_s: seconds that loading may take, and also the pass. On a GPU, where engines are built and kernels loaded,
            both get at least the time that they get when a file is timed.
        batch: pictures in that pass, as many as will be run at once.

    Raises:
        RuntimeUnavailable: the runtime does not work on this machine.
        ArtifactError: it crashes, fails, gives no answer, or (on a CPU) needs more than 1 GB beside its weights
            and its batch.
    """
    job = ChildJob(
        files={str(path): path},
        runtime=runtime,
        protocol=Protocol(timeout_s=wait_s, load_timeout_s=wait_s),
        cores=[],
        memory_bytes=_memory_limit_bytes(path, runtime, batch),
        parent=os.getpid(),
        batch=batch,
    )
    if plugins.load("runtimes", runtime.name).ON_GPU:
        default = Protocol()
        patient = Protocol(timeout_s=max(wait_s, default.timeout_s), load_timeout_s=max(wait_s, default.load_timeout_s))
        job = job.model_copy(update={"protocol": patient, "memory_bytes": psutil.virtual_memory().available})
    with tempfile.TemporaryDirectory(prefix="whc-first-pass-") as scratch:
        result = run_child(job, Path(scratch), "wait longer with --wait SECONDS, or look for an endless loop in it")
    if result.unavailable:
        raise RuntimeUnavailable(result.unavailable)
    for reason in result.failed.values():
        raise ArtifactError(reason)


def _memory_limit_bytes(path: Path, runtime: Choice, batch: int) -> int:
    """Bytes that a file may take: for what it computes, for its weights, and for threads."""
    weights = WEIGHT_COPIES * path.stat().st_size if is_file(path) else 0
    stacks = STACK_BYTES * getattr(runtime.config, "threads", 1)
    return BASE_MEMORY_BYTES + PICTURE_BYTES * (batch - 1) + weights + stacks
