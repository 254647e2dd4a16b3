"""Heads: one file each, from a feature map to what a task learns from.

A file defines `Config`, `GIVES`, and `build(config, channels, feature_size, dropout, outputs) -> nn.Module`. One that
does not fit `feature_size` (h, w) raises a ValueError that says what would fit. `GIVES` is one of:

- `numbers`: the module maps (N, channels, h, w) to (N, outputs).
- `boxes`: a `whc.models.boxes.BoxHead`, for `outputs` classes of objects.
"""

from typing import Literal

Gives = Literal["numbers", "boxes"]
