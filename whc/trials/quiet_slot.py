"""Latency measured one network at a time on a node, and never twice for the same architecture."""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from whc import records
from whc.config import fingerprint
from whc.latency.bench import bench
from whc.latency.host import host
from whc.latency.timing import Protocol
from whc.models.assemble import ModelConfig
from whc.plugins import Choice
from whc.records import Latency

EXPORTERS = ("torch", "onnx", "onnxscript", "onnxsim")
PROTOCOL = Protocol(max_s=10)
ATTEMPTS = 2


def cache_key(model: ModelConfig, runtime: Choice, reference_ms: float) -> str:
    """What a latency depends on: architecture, exporter versions, runtime, host and protocol; never the weights."""
    return fingerprint(
        {
            "model": model.model_dump(mode="json", exclude={"dropout"}),
            "exporters": {name: version(name) for name in EXPORTERS},
            "runtime": runtime.dump(),
            "host": host(),
            "reference_ms": reference_ms,
            "protocol": PROTOCOL.model_dump(),
        }
    )


def latency(artifact: Path, model: ModelConfig, runtime: Choice, reference_ms: float, cache: Path) -> Latency:
    """Latency of an exported network: looked up, or measured while no other trial of this node measures.

    The trial waits meanwhile, so that with no more trials than cores one core is free: the timing process is pinned to
    the idlest. Where trials and others leave none, it shares one, and short blocks and the reference network have to
    make up for it. What is noisy all the same is measured once more, and then kept as it is, marked.

    Args:
        artifact: the untrained export.
        model: its architecture.
        runtime: runtime plug-in with its parameters.
        reference_ms: the reference network's milliseconds on this host when idle.
        cache: folder of earlier latencies.

    Raises:
        ArtifactError: the file crashes its runtime, never answers, or needs more memory than there is.
    """
    known = cache / f"{cache_key(model, runtime, reference_ms)}.json"
    if known.is_file():
        return records.load(Latency, known)
    with _slot():
        for _ in range(ATTEMPTS):
            measured = bench({"trial": artifact}, runtime, PROTOCOL, reference_ms)["trial"]
            if not measured.noisy:
                break
    records.save(measured, known)
    return measured


def _slot() -> FileLock:
    """The node's one slot; each user has a lock, because nobody may open another user's."""
    return FileLock(Path(tempfile.gettempdir()) / f"whc-quiet-slot-{os.getuid()}.lock")
