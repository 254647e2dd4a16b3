"""The first pass of a file that anybody may have made: it may ask for an endless loop, or for all memory there is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil

from whc import plugins
from whc.config import is_file
from whc.errors import ArtifactError
from whc.latency.child import Job
from whc.latency.timing import Protocol
from whc.latency.watch import attend
from whc.plugins import Choice
from whc.runtimes import RuntimeUnavailable

WAIT_S = 5.0
ROOM_BYTES = 2**30
COPIES = 4  # of a file's weights: as read, as laid out for the processor, and on the way between
STACK_BYTES = 16 * 2**20


def check(path: Path, runtime: Choice, wait_s: float = WAIT_S, batch: int = 1) -> None:
    """Load a file and run it once, on black pictures, in a process of its own.

    Args:
        path: the artifact.
        runtime: runtime plug-in with its parameters.
        wait_s: how long loading it may take, and as long again the pass; on a GPU, for which engines are built and
            kernels loaded, at least as long as when it is timed.
        batch: pictures in that pass, as many as will be run at once.

    Raises:
        RuntimeUnavailable: the runtime cannot be had here.
        ArtifactError: it crashes, fails, gives no answer, or (on a CPU) needs more than 1 GB beside its weights.
    """
    job = Job(
        files={str(path): path},
        runtime=runtime,
        protocol=Protocol(timeout_s=wait_s, load_timeout_s=wait_s),
        cores=[],
        memory_bytes=_room_bytes(path, runtime),
        parent=os.getpid(),
        batch=batch,
    )
    if plugins.load("runtimes", runtime.name).ON_GPU:
        usual = Protocol()
        longer = Protocol(timeout_s=max(wait_s, usual.timeout_s), load_timeout_s=max(wait_s, usual.load_timeout_s))
        job = job.model_copy(update={"protocol": longer, "memory_bytes": psutil.virtual_memory().available})
    with tempfile.TemporaryDirectory(prefix="whc-first-pass-") as scratch:
        result = attend(job, Path(scratch), "wait longer with --wait SECONDS, or look for an endless loop in it")
    if result.unavailable:
        raise RuntimeUnavailable(result.unavailable)
    for reason in result.failed.values():
        raise ArtifactError(reason)


def _room_bytes(path: Path, runtime: Choice) -> int:
    """The memory that a file may take: for what it computes, its weights, and threads."""
    weights = COPIES * path.stat().st_size if is_file(path) else 0
    return ROOM_BYTES + weights + STACK_BYTES * getattr(runtime.config, "threads", 1)
