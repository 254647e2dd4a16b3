"""The yardstick is the same file everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from whc.latency import reference
from whc.runtimes import onnxruntime_cpu


def test_the_bytes_are_always_the_same(tmp_path: Path) -> None:
    first, second = reference.write(tmp_path / "a.onnx"), reference.write(tmp_path / "new" / "b.onnx")
    assert first == tmp_path / "a.onnx"
    assert first.read_bytes() == second.read_bytes()


def test_it_runs_and_its_numbers_stay_in_range(tmp_path: Path) -> None:
    session = onnxruntime_cpu.load(reference.write(tmp_path / "a.onnx"), onnxruntime_cpu.Config())
    assert session.input_shape == reference.INPUT_SHAPE
    output = session.run(np.random.default_rng(0).random(reference.INPUT_SHAPE, np.float32))
    # Denormals or infinities would be timed differently from ordinary numbers.
    assert np.isfinite(output).all()
    assert 1e-3 < output.max() < 1e3


def test_it_is_as_large_as_the_middle_of_our_range(tmp_path: Path) -> None:
    model = onnx.load(reference.write(tmp_path / "a.onnx"))
    assert [node.op_type for node in model.graph.node].count("Conv") == 9
    weights = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    assert 5_000 < weights < 50_000
