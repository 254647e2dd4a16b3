"""Our networks compute what the originals do: their checkpoints, their inputs, their logits, and exported, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from whc.runtimes import onnxruntime_cpu
from whc.training import checkpoint
from whc.trials.artifacts import export, restore

NAMES = [
    "baseline_avg",
    "baseline_avg_luma",
    "convnext_avg_48x30",
    "convnext_mlp_mixer_grid4x4",
    "convnext_transformer_grid2x2",
    "inverted_se_avg_lab",
    "inverted_se_avgmax_mlp",
    "sequence_3dcnn_len4",
    "sequence_lstm_len4",
]


def peer(shared: Path, name: str) -> Path:
    path = shared / "peer" / f"{name}.pt"
    if not path.is_file():
        pytest.skip(f"the originals' checkpoints are not here ({path})")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_exported_probabilities(shared: Path, tmp_path: Path, name: str) -> None:
    path = peer(shared, name)
    saved = checkpoint.load(path)
    config, network = restore(saved, str(path))
    export(config, network, saved, tmp_path / "model.onnx")
    session = onnxruntime_cpu.load(tmp_path / "model.onnx", onnxruntime_cpu.Config())
    with np.load(path.with_suffix(".npz")) as golden, torch.inference_mode():
        images, logits = golden["images"], golden["logits"].astype(np.float64)
        assert logits.std() > 0.5
        np.testing.assert_allclose(network(torch.from_numpy(images)).squeeze(1), logits, rtol=0, atol=1e-4)
        np.testing.assert_allclose(session.run(images), 1 / (1 + np.exp(-logits)), rtol=0, atol=1e-5)
    assert session.metadata().interpolation == "bilinear_antialias"


def test_every_golden_file_is_compared(shared: Path) -> None:
    assert {path.stem for path in peer(shared, NAMES[0]).parent.glob("*.npz")} <= set(NAMES)
