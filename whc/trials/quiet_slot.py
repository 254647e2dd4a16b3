"""Latency measured one network at a time on a node, and never twice for the same architecture."""

from __future__ import annotations

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


def cache_key(model: ModelConfig, runtime: Choice, reference_ms: float) -> str:
    """What a latency depends on: architecture, exporter versions, runtime and host; never the weights."""
    return fingerprint(
        {
            "model": model.model_dump(mode="json", exclude={"dropout"}),
            "exporters": {name: version(name) for name in EXPORTERS},
            "runtime": runtime.dump(),
            "host": host(),
            "reference_ms": reference_ms,
        }
    )


def latency(artifact: Path, model: ModelConfig, runtime: Choice, reference_ms: float, cache: Path) -> Latency:
    """Latency of an exported network: looked up, or measured while no other trial of this node measures.

    Args:
        artifact: the untrained export.
        model: its architecture.
        runtime: runtime plug-in with its parameters.
        reference_ms: the reference network's milliseconds on this host when idle.
        cache: folder of earlier latencies.
    """
    known = cache / f"{cache_key(model, runtime, reference_ms)}.json"
    if known.is_file():
        return records.load(Latency, known)
    with FileLock(Path(tempfile.gettempdir()) / "whc-quiet-slot.lock"):
        measured = bench({"trial": artifact}, runtime, Protocol(), reference_ms)["trial"]
    records.save(measured, known)
    return measured
