"""Sequence models: one file each. A sequence model decides how frames become a network's input.

A file defines `Config`, `INPUT_LAYOUT` (a key of `whc.data.preprocess.LAYOUTS`), `UNUSED` (the fields of `ModelConfig`
that its network does not use), `frames(config)`, `input_shape(config, size)` without the batch, and
`build(config, parts) -> nn.Module` from that input to logits.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from whc.plugins import PluginConfig


class FramesConfig(PluginConfig):
    """`frames`: consecutive frames in one input. `differences`: the network sees each frame minus the one before.

    Differences (Wang et al. 2016, "RGB difference") leave out what stands still. From few clips a network that sees the
    scene learns scenes by heart, and not the motion; but with differences it cannot see a hand that does not move.
    """

    frames: int = Field(4, ge=1, le=64)
    # Left out of what is written while off, so that configurations of earlier versions stay the same.
    differences: bool = Field(False, exclude_if=lambda is_on: not is_on)

    @model_validator(mode="after")
    def _has_a_difference(self) -> FramesConfig:
        if self.differences and self.frames < 2:
            raise ValueError(f"frames must be 2 or more where differences is on, got {self.frames}; use more frames")
        return self
