"""Files timed against each other and the reference network, on one runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from whc import plugins
from whc.latency import reference
from whc.latency.host import host
from whc.latency.timing import REFERENCE, Protocol, Run, Timing, measure
from whc.plugins import Choice
from whc.records import Latency


def runner(path: Path, runtime: Choice, seed: int = 0) -> Run:
    """One forward pass of a file at batch 1, on a fixed random input."""
    session = plugins.load("runtimes", runtime.name).load(path, runtime.config)
    images = np.random.default_rng(seed).random(session.input_shape, np.float32)
    return lambda: session.run(images)


def bench(
    files: Mapping[str, Path],
    runtime: Choice,
    protocol: Protocol,
    reference_ms: float | None = None,
) -> dict[str, Latency]:
    """Time files, all interleaved.

    Args:
        files: name -> artifact.
        runtime: runtime plug-in with its parameters.
        protocol: how long to measure.
        reference_ms: the reference network's milliseconds on this host when idle; by default its median here and now.

    Returns:
        A latency for each name, and one for the reference network under `REFERENCE`.

    Raises:
        ArtifactError: a file cannot be loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        yardstick = runner(reference.write(Path(folder) / "reference.onnx"), runtime)
        timings = measure({name: runner(path, runtime) for name, path in files.items()}, yardstick, protocol)
    idle_ms = reference_ms or timings[REFERENCE].p50_ms
    return {name: _latency(timing, idle_ms, runtime) for name, timing in timings.items()}


def _latency(timing: Timing, idle_ms: float, runtime: Choice) -> Latency:
    return Latency(
        ms=timing.ratio * idle_ms,
        low_ms=timing.ratio_low * idle_ms,
        high_ms=timing.ratio_high * idle_ms,
        p90_ms=timing.p90_ms,
        p99_ms=timing.p99_ms,
        ratio=timing.ratio,
        runtime=runtime.name,
        threads=getattr(runtime.config, "threads", 1),
        host=host(),
    )
