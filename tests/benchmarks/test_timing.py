"""Can the timing be trusted: a file against itself, and our exports against the originals' of the same networks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whc.latency.child import forward_pass
from whc.latency.reference import write_empty
from whc.latency.statistics import Timing
from whc.latency.timing import ForwardPass, Protocol, measure
from whc.plugins import ChoiceOf
from whc.runtimes import onnxruntime_cpu
from whc.runtimes.onnxruntime_session import OrtSession
from whc.training import checkpoint
from whc.training.checkpoint import Checkpoint
from whc.trials.artifacts import export, restore, untrained
from whc.trials.config import TrialConfig

pytestmark = pytest.mark.bench

RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
PROTOCOL = Protocol(min_rounds=100, max_rounds=300)
INVERTED_SE = {"backbone": "inverted_se", "head": "avgmax_mlp"}
SAME: dict[str, dict[str, Any]] = {
    "baseline_w16": {"width": 16},
    "baseline_w32_luma": {"width": 32, "color": "luma"},
    "baseline_w32_lab": {"width": 32, "color": "lab"},
    "baseline_w64": {"width": 64},
    **{f"inverted_se_w{width}": {**INVERTED_SE, "width": width} for width in (12, 16, 24, 48, 64)},
    "convnext_w32_avg": {"backbone": "convnext", "width": 32},
    "sequence_lstm_w32_len4": {"sequence": {"lstm": {"frames": 4}}, "width": 32},
    "sequence_3dcnn_w32_len4": {"sequence": {"cnn3d": {"frames": 4}}, "width": 32},
}
TRAINED = ["trained_baseline", "trained_inverted_se"]
IN_COLOR: dict[str, dict[str, Any]] = {
    "baseline w32": {"width": 32},
    "inverted_se w16": {**INVERTED_SE, "width": 16},
    "convnext w32": {"backbone": "convnext", "width": 32},
    "baseline w32, 4 frames stacked": {"width": 32, "sequence": {"frame_stack": {"frames": 4}}},
    "baseline w32, lstm": {"width": 32, "sequence": {"lstm": {"frames": 4}}},
}


def exported(model: dict[str, Any], path: Path) -> Path:
    config = TrialConfig.model_validate({"model": model})
    network = untrained(config, ["no", "yes"])
    with torch.no_grad():  # biases of zero would vanish from the file
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    origin = Checkpoint(config.resolved(), {}, ["no", "yes"], None, "", "", 0, 0.0)
    export(config, network, origin, path)
    return path


def compared(one: Path, other: Path, seed: int = 0) -> Timing:
    loads = {"one": partial(forward_pass, one, RUNTIME)}
    return measure(loads, partial(forward_pass, other, RUNTIME), PROTOCOL, seed)["one"]


def told(timing: Timing) -> str:
    return f"{timing.ratio.value:.3f} ({timing.ratio.low:.3f} to {timing.ratio.high:.3f})"


def test_a_file_against_itself(tmp_path: Path) -> None:
    path = exported({}, tmp_path / "a.onnx")
    twins = [compared(path, path, seed) for seed in range(20)]
    hold = sum(twin.ratio.low <= 1 <= twin.ratio.high for twin in twins)
    print(f"\na file against itself: {hold} of 20 intervals hold 1")
    assert hold > 0


@pytest.mark.parametrize("name", [*SAME, *TRAINED])
def test_our_exports_against_the_originals(name: str, tmp_path: Path, shared: Path) -> None:
    ours, theirs = tmp_path / "ours.onnx", shared / "peer" / "onnx" / f"{name}.onnx"
    if name in SAME:
        exported(SAME[name], ours)
    else:
        origin = shared / "peer" / f"{name}.pt"
        saved = checkpoint.load(origin)
        export(*restore(saved, str(origin)), saved, ours)
    timing, size = compared(ours, theirs), ours.stat().st_size / theirs.stat().st_size
    print(f"\n{name}: {told(timing)} of the original's latency, {size:.3f} of its size")
    assert timing.ratio.low <= 1.03
    assert size <= 1


@pytest.mark.parametrize("name", IN_COLOR)
def test_luma_against_rgb(name: str, tmp_path: Path) -> None:
    luma = exported({**IN_COLOR[name], "color": "luma"}, tmp_path / "luma.onnx")
    timing = compared(luma, exported(IN_COLOR[name], tmp_path / "rgb.onnx"))
    print(f"\n{name}: luma takes {told(timing)} of what RGB takes")
    assert timing.ratio.low <= 1.03


def test_bound_buffers_make_a_call_cheaper(tmp_path: Path) -> None:
    """Of an empty network, and of the smallest one that a ladder may hold; both ways in one session."""
    tiny = {"width": 16, "image_size": 16, "color": "luma"}
    for path in (write_empty(tmp_path / "empty.onnx"), exported(tiny, tmp_path / "tiny.onnx")):

        def unbound(path: Path = path) -> ForwardPass:
            session = onnxruntime_cpu.load(path, onnxruntime_cpu.Config())
            assert isinstance(session, OrtSession)
            session._buffers = None
            images = np.random.default_rng(0).random(session.input_shape, np.float32)
            return lambda: session.run(images)

        timing = measure({"bound": partial(forward_pass, path, RUNTIME)}, unbound, PROTOCOL)["bound"]
        print(f"\n{path.stem}: bound over unbound {told(timing)}")
        assert timing.ratio.value < 0.97
