"""Inputs that show an exporter the range of each number in a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whc.data.dataset import Corpus
from whc.data.preprocess import to_input
from whc.data.windows import windows
from whc.errors import DataError
from whc.trials.config import TrialConfig

MAX_WINDOWS = 128


def calibration_inputs(config: TrialConfig, corpus: Corpus) -> NDArray[np.float32]:
    """Windows of the training split (K, ...) as a runner feeds them, and a black and a white one.

    The last two fix the range of the input at 0..1, whatever the pictures hold.

    Raises:
        DataError: every picture has one colour only, which says nothing of the network.
    """
    index = windows(corpus, "train", config.model.frames).index
    chosen = index[np.linspace(0, len(index) - 1, min(len(index), MAX_WINDOWS)).astype(int)]
    pictures = corpus.images[config.model.image_size][chosen]
    if (np.ptp(pictures, axis=(-3, -2)) == 0).all():
        rule = "calibration must see pictures of more than one colour"
        raise DataError(f"split 'train': {rule}, got {len(chosen)} of one colour each; give the data of the training")
    real = to_input(pictures, config.model.layout)
    return np.concatenate([real, np.zeros_like(real[:1]), np.ones_like(real[:1])])
