"""Latency of untrained exports: one at a time on a node, and each architecture only once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import FileLock, ReadWriteLock

from whc import plugins, records
from whc.config import fingerprint
from whc.errors import StudyError
from whc.latency.bench import bench
from whc.latency.timer import Timer, TimingPlace
from whc.latency.timing import CALL_VERSION, Protocol
from whc.plugins import Choice
from whc.records import Footprint
from whc.trials.config import TrialConfig

EXPORT_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxsim")
SLOT_PROTOCOL = Protocol(max_s=10)
MAX_ATTEMPTS = 2


def cache_key(config: TrialConfig, labels: Sequence[str], place: TimingPlace) -> str:
    """Hash of what size and latency depend on: architecture, exporter versions, runtime, host, protocol; not weights.

    Args:
        config: whose network.
        labels: those of the data, which decide how many outputs there are.
        place: host and runtime.
    """
    task = config.task_for(labels)
    return fingerprint(
        {
            "model": config.model.model_dump(mode="json", exclude={"dropout"}),
            "task": [config.task.name, task.graph_parameters],
            "outputs": task.outputs,
            "exporters": {name: version(name) for name in EXPORT_LIBRARIES},
            **place.identity,
            "protocol": SLOT_PROTOCOL.model_dump(),
            "call": CALL_VERSION,
        }
    )


def measured(
    key: str,
    export: Callable[[], Path],
    runtime: Choice,
    reference_ms: float,
    cache: Path,
    timer: Timer | None = None,
) -> Footprint:
    """Size and latency of an architecture: from the cache, or of an export that is timed now.

    Only one trial of a node is timed at a time. The trial itself waits meanwhile, so that one core is free while there
    are no more trials than cores: the timing process is pinned to the idlest core. If no core is free, short blocks and
    the reference network must correct for that. A noisy result is measured once more, and then kept with its mark.
    A runtime on a GPU has the GPU for itself: the trainings there wait, each at the end of its epoch.

    Args:
        key: the architecture's `cache_key`.
        export: writes the file and returns its path; called only for an architecture that is not in the cache.
        runtime: runtime plug-in with its parameters.
        reference_ms: the reference network's milliseconds on the host when idle.
        cache: folder of what has been measured.
        timer: the device that times the file, one file at a time; None for this machine.

    Raises:
        ArtifactError: the file crashes its runtime, never answers, or needs more memory than there is.
    """
    cache_file = cache / f"{key}.json"
    with suppress(StudyError):  # the file is missing or damaged
        # The cache is valid for the ratio; milliseconds follow from the caller's `reference_ms`.
        cached = records.load(Footprint, cache_file)
        return cached.model_copy(update={"latency": cached.latency.scaled(reference_ms)})
    artifact = export()
    with nullcontext() if timer else _slot(runtime):
        for _ in range(MAX_ATTEMPTS):
            latency = bench({"trial": artifact}, runtime, SLOT_PROTOCOL, reference_ms, timer)["trial"]
            if not latency.noisy:
                break
    footprint = Footprint(size_bytes=artifact.stat().st_size, latency=latency)
    records.save(footprint, cache_file)
    return footprint


def training_turn(runtime: Choice) -> AbstractContextManager[None]:
    """Train within it, an epoch at a time: it waits while a network is timed on this GPU, for which trainings wait.

    Args:
        runtime: what the search times its networks with; a training does not disturb one that runs on the CPU.
    """
    gpu = _gpu_lock(runtime)
    return gpu.read_lock() if gpu else nullcontext()


def _gpu_lock(runtime: Choice) -> ReadWriteLock | None:
    """Lock of this GPU, which trainings hold to read and a timing holds to write; None where the CPU is timed."""
    if not (plugins.load("runtimes", runtime.name).ON_GPU and torch.cuda.is_available()):
        return None
    return ReadWriteLock(_lock_file(f"gpu-{torch.cuda.get_device_properties(0).uuid}"))


@contextmanager
def _slot(runtime: Choice) -> Iterator[None]:
    """The node's only slot, and where the runtime needs it the GPU."""
    gpu = _gpu_lock(runtime)
    with FileLock(_lock_file("quiet-slot")), gpu.write_lock() if gpu else nullcontext():
        yield


def _lock_file(name: str) -> Path:
    """A lock's file; each user has an own one, because users cannot open each other's files."""
    return Path(tempfile.gettempdir()) / f"whc-{name}-{os.getuid()}.lock"
