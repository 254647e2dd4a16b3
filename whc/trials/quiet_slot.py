"""Untrained exports measured one at a time on a node, and no architecture twice."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from whc import records
from whc.config import fingerprint
from whc.errors import StudyError
from whc.latency.bench import bench
from whc.latency.host import host
from whc.latency.timing import Protocol
from whc.models.assemble import ModelConfig
from whc.plugins import Choice
from whc.records import Footprint

EXPORTERS = ("torch", "onnx", "onnxscript", "onnxsim")
PROTOCOL = Protocol(max_s=10)
ATTEMPTS = 2


def cache_key(model: ModelConfig, outputs: int, runtime: Choice) -> str:
    """What size and latency depend on: architecture, exporter versions, runtime, host and protocol; never the weights.

    Args:
        model: the architecture up to its last layer.
        outputs: size of that layer.
        runtime: runtime plug-in with its parameters.
    """
    return fingerprint(
        {
            "model": model.model_dump(mode="json", exclude={"dropout"}),
            "outputs": outputs,
            "exporters": {name: version(name) for name in EXPORTERS},
            "runtime": runtime.dump(),
            "host": host(),
            "protocol": PROTOCOL.model_dump(),
        }
    )


def measured(key: str, export: Callable[[], Path], runtime: Choice, reference_ms: float, cache: Path) -> Footprint:
    """Size and latency of an architecture: looked up, or of an export, timed while no other trial of this node is.

    The trial waits meanwhile, so that with no more trials than cores one core is free: the timing process is pinned to
    the idlest. Where trials and others leave none, it shares one, and short blocks and the reference network have to
    make up for it. What is noisy all the same is measured once more, and then kept as it is, marked.

    Args:
        key: the architecture's `cache_key`.
        export: writes the file and tells where; called for what is not known alone.
        runtime: runtime plug-in with its parameters.
        reference_ms: the reference network's milliseconds on this host when idle.
        cache: folder of what has been measured.

    Raises:
        ArtifactError: the file crashes its runtime, never answers, or needs more memory than there is.
    """
    known = cache / f"{key}.json"
    with suppress(StudyError):  # not measured yet, or damaged
        # The ratio is what was measured: milliseconds are those of whoever asks.
        kept = records.load(Footprint, known)
        return kept.model_copy(update={"latency": kept.latency.scaled(reference_ms)})
    artifact = export()
    with _slot():
        for _ in range(ATTEMPTS):
            latency = bench({"trial": artifact}, runtime, PROTOCOL, reference_ms)["trial"]
            if not latency.noisy:
                break
    found = Footprint(size_bytes=artifact.stat().st_size, latency=latency)
    records.save(found, known)
    return found


def _slot() -> FileLock:
    """The node's one slot; each user has a lock, because nobody may open another user's."""
    return FileLock(Path(tempfile.gettempdir()) / f"whc-quiet-slot-{os.getuid()}.lock")
