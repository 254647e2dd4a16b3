"""A rendered clip, for want of a camera."""

from __future__ import annotations

import numpy as np

from whc.data.synthetic import FRAME_RATE, Motion, clip
from whc.data.video import Frame
from whc.demo.sources.source import Source, size_of

RENDERED_SECONDS = 3  # of each motion


def source() -> Source:
    """A hand that is still, waves, passes and waves again."""
    motions: tuple[Motion, ...] = ("still", "waving", "passing", "waving")
    frames = RENDERED_SECONDS * FRAME_RATE
    pictures = np.concatenate([clip(seed, motion, frames) for seed, motion in enumerate(motions)])
    timed_frames = (Frame(picture, number / FRAME_RATE) for number, picture in enumerate(pictures))
    return Source("rendered clip", FRAME_RATE, size_of(pictures[0]), len(pictures), timed_frames, lambda: FRAME_RATE)
