from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from whc.runtimes import onnxruntime_cpu, openvino
from whc.runtimes.openvino import Config

pytest.importorskip("openvino", reason="needs the extra openvino")

Build = Callable[..., Path]


@pytest.mark.parametrize("threads", [1, 2])
def test_gives_what_onnxruntime_gives(exported: Path, threads: int) -> None:
    ours = openvino.load(exported, Config(threads=threads))
    theirs = onnxruntime_cpu.load(exported, onnxruntime_cpu.Config())
    assert ours.input_shape == theirs.input_shape
    assert ours.metadata() == theirs.metadata()
    rng = np.random.default_rng(0)
    images = rng.random((9, *ours.input_shape[1:]), np.float32) * rng.random((9, *[1] * (len(ours.input_shape) - 1)))
    images = images.astype(np.float32)
    expected = theirs.run(images)
    assert expected.std() > 1e-3, "probabilities that hardly differ prove nothing"
    for batch in (1, 4, 9):
        np.testing.assert_allclose(ours.run(images[:batch]), expected[:batch], atol=1e-5)


def test_computes_in_full_precision(build: Build) -> None:
    """On processors with bfloat16, too, where OpenVINO takes that by itself."""
    images = np.random.default_rng(0).random((64, 3, 4, 6), np.float32)
    np.testing.assert_allclose(openvino.load(build(), Config()).run(images), images.mean((1, 2, 3)), atol=1e-6)


def test_threads_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Config(threads=0)
