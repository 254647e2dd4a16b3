"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

# Before PyTorch loads: tiny networks gain nothing from threads, and spinning threads of several processes lose minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from whc.data.dataset import Corpus


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
