"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# Before PyTorch loads: tiny networks gain nothing from threads, and spinning threads of several processes lose minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from whc.data.dataset import Corpus

SPACE = """
name: chain
recipe: {recipe}
trials: 3
limits: {{latency_ms: 5}}
space:
  model:
    backbone: [baseline, inverted_se]
    sequence: {{frame_stack: {{frames: [4, 6]}}}}
    color: [rgb, luma]
    width: [4, 8]
    depth: 2
    image_size: [16, 24]
    dropout: 0
  training:
    epochs: {epochs}
    batch_size: 32
    lr: {{float: [5e-3, 2e-2], log: true}}
    resampling: [none, balanced]
"""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("WHC_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder} (or WHC_SHARED)")
    return folder


@pytest.fixture
def bright_corpus() -> Corpus:
    """96 pictures of 16x16 in clips of four; positives are bright, negatives dark: learnt in an epoch or two."""
    rng = np.random.default_rng(0)
    class_ids = np.tile([0, 0, 0, 0, 1, 1, 1, 1], 12)
    level = np.where(class_ids == 1, 180, 60)[:, None, None, None]
    images = np.clip(level + rng.normal(0, 20, (96, 16, 16, 3)), 0, 255).astype(np.uint8)
    clips = np.arange(96) // 4
    return Corpus(
        images={(16, 16): images},
        class_ids=class_ids.astype(np.int64),
        splits=np.select([clips < 12, clips < 18], [0, 1], 2).astype(np.int64),
        clips=clips.astype(np.int64),
        groups=clips.astype(np.int64),
        timestamps=np.tile(np.arange(4), 24).astype(np.int64),
        labels=("dark", "bright"),
        frame_rate=10.0,
        fingerprint="bright",
    )


@pytest.fixture(scope="session")
def write_space() -> Callable[..., None]:
    """Writes a space of quick trials and its recipe into a folder: `write_space(folder, epochs=6)`."""

    def write(folder: Path, epochs: int) -> None:
        recipe = "prefix: chain\nmin_gain: 0\nmin_over_constant: 0\ntiming: {min_rounds: 10, max_rounds: 30}\n"
        (folder / "recipe.yaml").write_text(recipe)
        (folder / "space.yaml").write_text(SPACE.format(recipe=folder / "recipe.yaml", epochs=epochs))

    return write
