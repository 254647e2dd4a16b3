from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from whc.records import ModelMetadata
from whc.runtimes import onnxruntime_cpu
from whc.runtimes.onnxruntime_cpu import Config

Build = Callable[..., Path]


@pytest.mark.parametrize("threads", [1, 2])
def test_runs_batches(build: Build, threads: int) -> None:
    path = build()
    session = onnxruntime_cpu.load(path, Config(threads=threads))
    images = np.random.default_rng(0).random((5, 3, 4, 6), np.float32)
    probabilities = session.run(images)
    assert probabilities.dtype == np.float32
    assert probabilities == pytest.approx(images.mean(axis=(1, 2, 3)), abs=1e-6)
    assert session.path == path


def test_runs_any_number_of_frames_where_it_is_open(build: Build, metadata: ModelMetadata) -> None:
    said = metadata.model_copy(update={"frames": 5}).to_properties()
    session = onnxruntime_cpu.load(build(("batch", "frames", 4, 6), said), Config())
    for frames in (1, 5, 8):
        images = np.random.default_rng(0).random((2, frames, 4, 6), np.float32)
        assert session.run(images) == pytest.approx(images.mean(axis=(1, 2, 3)), abs=1e-6)


def test_threads_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Config(threads=0)
