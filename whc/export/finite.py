"""A network that may be written: all of its numbers are finite."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from whc.errors import ArtifactError, problem


def check_finite(network: nn.Module, path: Path, input_shape: tuple[int, ...]) -> None:
    """Refuse the network of a failed training: a comparison with NaN is False, so NaN would look like a negative.

    Raises:
        ArtifactError: a weight, or an output, is NaN or infinite.
    """
    for name, weights in network.state_dict().items():
        if not torch.isfinite(weights).all():
            rule = "cannot be written: every weight must be a finite number"
            raise ArtifactError(problem(str(path), rule, f"NaN or infinity in {name}", "train it again"))
    noise = torch.rand(1, *input_shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        outputs = torch.cat([network(images) for images in (torch.zeros(1, *input_shape), noise)])
    if not torch.isfinite(outputs).all():
        rule = "cannot be written: every output must be a finite number"
        raise ArtifactError(problem(str(path), rule, outputs.tolist(), "train it again"))
