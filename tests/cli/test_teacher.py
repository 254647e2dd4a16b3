"""`whc train` with a teacher: a larger detector, or a plain ViT; and what is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whc.config import load_yaml

CONFIG = """
task: detection
model: {backbone: plain, head: {aligned: {upscale: 2}}, width: 4, depth: 4, image_size: 16, dropout: 0}
training: {epochs: 1, lr: 0.02, batch_size: 16}
"""


@pytest.fixture
def data(home: Path, boxes_data: Callable[..., Path]) -> Path:
    """Grey pictures, each with a bright box; and the configuration."""
    (home / "c.yaml").write_text(CONFIG)
    return boxes_data(48, 1)


def test_from_a_large_detector_to_a_small_one(
    home: Path, data: Path, result: Callable[..., Any], whc_command: Callable[..., Any]
) -> None:
    """The path is kept as one that holds from any folder, and the exported file has the small network alone."""
    train = ("train", "--data", data, "--config", home / "c.yaml", "--diagnostics", "off", "--out")
    result(*train, "large", "--set", "model.image_size=32", "--set", "model.width=16")
    small = result(*train, "small", "--set", "training.teacher=large/checkpoint.pt")
    assert small["params"] == result(*train, "plain")["params"]
    assert load_yaml(home / "small/config.yaml")["training"]["teacher"] == str(home / "large/checkpoint.pt")
    assert "teacher" not in load_yaml(home / "plain/config.yaml")["training"]
    again = result("train", "--data", data, "--out", "small", "--resume")
    assert again["val_score"] == small["val_score"]
    result("export", "--checkpoint", "small/checkpoint.pt", "--out", "small.onnx")
    result("export", "--checkpoint", "plain/checkpoint.pt", "--out", "plain.onnx")
    assert (home / "small.onnx").stat().st_size == pytest.approx((home / "plain.onnx").stat().st_size, rel=0.01)
    for settings, told in (
        (
            ("training.teacher=none.pt",),
            f"training.teacher: {home}/none.pt: must be a readable checkpoint, got No such",
        ),
        (("training.teacher=c.yaml",), f"training.teacher: {home}/c.yaml: must be a checkpoint"),
        (
            ("training.teacher=large/checkpoint.pt", "model.image_size=16x32"),
            f"training.teacher: {home}/large/checkpoint.pt: must have pictures of the shape of 16x32",
        ),
    ):
        ended = whc_command(*train, "other", *(part for setting in settings for part in ("--set", setting)))
        assert ended.code == 1
        assert ended.err.startswith(f"error: {told}")
        assert ended.err.count("\n") == 1


def test_from_the_original_s_features(
    home: Path, data: Path, shared: Path, result: Callable[..., Any], whc_command: Callable[..., Any]
) -> None:
    path = shared / "peer/uhd/vit_mlp.pt"
    if not path.is_file():
        pytest.skip(f"the original's ViT is not here ({path})")
    train = ("train", "--data", data, "--config", "c.yaml", "--set", f"training.teacher={path}", "--out")
    result(*train, "run", "--set", "training.teacher_heads=2")
    ended = whc_command(*train, "other", "--set", "training.teacher_heads=3")
    assert f"error: training.teacher: {path}: must be the weights of a plain ViT, got '64 channels" in ended.err
    ended = whc_command(*train, "other", "--set", "model.image_size=12")
    assert "must have patches within 12x12 pixels, for the network in training, got '16x16'" in ended.err


def test_anchors_are_found_among_the_boxes_of_the_training_split(
    home: Path, data: Path, result: Callable[..., Any]
) -> None:
    """Given ones are kept; both are part of the checkpoint."""
    from whc.training import checkpoint

    head = ("--set", "model.head=anchor", "--set", "model.head.anchor.num_anchors=2")
    train = ("train", "--data", data, "--config", "c.yaml", "--diagnostics", "off", *head, "--out")
    result(*train, "found")
    anchors = checkpoint.load(home / "found/checkpoint.pt").weights["head.anchors"]
    np.testing.assert_allclose(anchors, [[0.5, 0.375]] * 2, atol=1e-5)
    result(*train, "given", "--set", "model.head.anchor.anchors=[[0.1, 0.2], [0.3, 0.4]]")
    anchors = checkpoint.load(home / "given/checkpoint.pt").weights["head.anchors"]
    np.testing.assert_allclose(anchors, [[0.1, 0.2], [0.3, 0.4]])
