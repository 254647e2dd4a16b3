"""Heads: one file each, from a feature map to what a task learns from.

A file defines `Config`, `GIVES`, and `build(config, channels, feature_size, dropout, outputs) -> nn.Module`. One that
does not fit `feature_size` (h, w) raises a ValueError that says what would fit. `GIVES` is one of:

- `numbers`: the module maps (N, channels, h, w) to (N, outputs).
- `boxes`: a `BoxHead`, for `outputs` classes of objects.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Gives = Literal["numbers", "boxes"]


class BoxHead(Protocol):
    """A head that finds objects.

    It maps (N, channels, h, w) to one tensor (N, ...). Targets are float32 (N, K, 5): cx, cy, w, h as shares of the
    picture, and the class; missing rows are -1 throughout.
    """

    nms_iou: float | None
    """Overlap from which the lower-scored of two boxes of a class is left out; None where none must be."""

    def prepare(self, targets: NDArray[np.float32]) -> None:
        """Take from the training targets what does not depend on weights; called once, before training."""

    def loss(self, raw: Tensor, targets: Tensor) -> Tensor:
        """What training makes small, a mean over the batch ()."""

    def decode(self, raw: Tensor) -> Tensor:
        """Candidates (N, M, 6) in any order: score 0..1, class, cx, cy, w, h. No step depends on the batch."""
