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
TRAINED = ["trained_baseline", "trained_inverted_se"]


def peer(shared: Path, name: str) -> Path:
    path = shared / "peer" / f"{name}.pt"
    if not path.is_file():
        pytest.skip(f"the originals' checkpoints are not here ({path})")
    return path


def shown(name: str, logits: float, probabilities: float) -> None:
    """A row of the golden table: run with `pytest -s` to see it."""
    print(f"\n{name:30} logits (PyTorch) {logits:.1e}   probabilities (ONNX) {probabilities:.1e}", end="")


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
        apart = np.abs(network(torch.from_numpy(images)).squeeze(1).numpy() - logits).max()
        exported_apart = np.abs(session.run(images) - 1 / (1 + np.exp(-logits))).max()
    shown(name, apart, exported_apart)
    assert apart <= 1e-4
    assert exported_apart <= 1e-5
    assert session.metadata().interpolation == "bilinear_antialias"


@pytest.mark.parametrize("name", TRAINED)
def test_trained_ones_against_the_originals_own_exports(shared: Path, tmp_path: Path, name: str) -> None:
    """They come without logits, but as the ONNX files that the originals made of them."""
    path = peer(shared, name)
    saved = checkpoint.load(path)
    config, network = restore(saved, str(path))
    export(config, network, saved, tmp_path / "model.onnx")
    ours, theirs = (
        onnxruntime_cpu.load(file, onnxruntime_cpu.Config())
        for file in (tmp_path / "model.onnx", path.parent / "onnx" / f"{name}.onnx")
    )
    torch.manual_seed(0)
    coarse = torch.nn.functional.interpolate(torch.rand(256, 1, 4, 4), config.model.image_size, mode="bilinear")
    pictures = (coarse * torch.rand(256, 1, 1, 1)).repeat(1, 3, 1, 1)
    expected = theirs.run(pictures.numpy()).astype(np.float64)
    assert expected.std() > 0.1
    # A float32 probability near 0 or 1 does not tell the logit that it came from.
    clear = (expected > 0.02) & (expected < 0.98)
    with torch.inference_mode():
        logits = network(pictures).squeeze(1).numpy()
    apart = np.abs(logits - np.log(expected / (1 - expected)))[clear].max()
    exported_apart = np.abs(ours.run(pictures.numpy()) - expected).max()
    shown(name, apart, exported_apart)
    assert apart <= 1e-4
    assert exported_apart <= 1e-5


def test_every_golden_file_is_compared(shared: Path) -> None:
    assert {path.stem for path in peer(shared, NAMES[0]).parent.glob("*.pt")} <= {*NAMES, *TRAINED}
