"""Can the timing be trusted: a file against itself, and our exports against the originals' of the same networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whc.export import onnx as onnx_export
from whc.latency.bench import runner
from whc.latency.timing import Protocol, measure
from whc.models.assemble import ModelConfig
from whc.plugins import ChoiceOf
from whc.records import ModelMetadata
from whc.trials.artifacts import untrained
from whc.trials.config import TrialConfig

pytestmark = pytest.mark.bench

RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
PROTOCOL = Protocol(min_rounds=100, max_rounds=300)
SAME = {
    "baseline_w16": {"width": 16},
    "baseline_w32_luma": {"width": 32, "color": "luma"},
    "baseline_w64": {"width": 64},
    "inverted_se_w16": {"backbone": "inverted_se", "head": "avgmax_mlp", "width": 16},
    "inverted_se_w48": {"backbone": "inverted_se", "head": "avgmax_mlp", "width": 48},
    "convnext_w32_avg": {"backbone": "convnext", "width": 32},
}


def exported(model: dict[str, object], path: Path) -> Path:
    config = TrialConfig.model_validate({"model": model})
    height, width = config.model.image_size
    metadata = ModelMetadata(
        task="classification", labels=["no", "yes"], positive="yes", layout=config.model.layout, frames=1,
        frame_rate=None, height=height, width=width, resize="stretch", interpolation="area", threshold=0.5,
        data_fingerprint="", code_version="",
    )  # fmt: skip
    onnx_export.export(untrained(config, ["no", "yes"]), path, metadata, config.model.input_shape, onnx_export.Config())
    return path


def test_a_file_against_itself(tmp_path: Path) -> None:
    path = exported(ModelConfig().model_dump(mode="json"), tmp_path / "a.onnx")
    apart = []
    for seed in range(20):
        twin = measure({"again": runner(path, RUNTIME)}, runner(path, RUNTIME), PROTOCOL, seed)["again"]
        apart.append(not twin.ratio_low <= 1 <= twin.ratio_high)
    print(f"\na file against itself: {20 - sum(apart)} of 20 intervals hold 1")
    assert sum(apart) < 20


@pytest.mark.parametrize("name", SAME)
def test_our_exports_against_the_originals(name: str, tmp_path: Path, shared: Path) -> None:
    ours = exported(SAME[name], tmp_path / "ours.onnx")
    theirs = shared / "peer" / "onnx" / f"{name}.onnx"
    timing = measure({"ours": runner(ours, RUNTIME)}, runner(theirs, RUNTIME), PROTOCOL)["ours"]
    size = ours.stat().st_size / theirs.stat().st_size
    interval = f"{timing.ratio_low:.3f} to {timing.ratio_high:.3f}"
    print(f"\n{name}: {timing.ratio:.3f} ({interval}) of the original's latency, {size:.2f} of its size")
    assert np.isfinite(timing.ratio)
