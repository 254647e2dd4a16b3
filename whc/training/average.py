"""An exponential moving average of a network's weights. It scores well long before the latest weights do."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn


class Average:
    """Follows a network: after each step every number of the average moves towards the network's by 1 - decay.

    In the first steps the decay is smaller, (1 + step) / (10 + step), so that the random weights are soon forgotten.
    PyTorch's `AveragedModel` groups all tensors again in each step, which takes a twentieth of a small network's time.

    Args:
        network: the network to follow, with its batch statistics.
        decay: between 0 and 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).requires_grad_(False)
        self._decay, self._steps = decay, 0
        pairs = zip(self.network.state_dict().values(), network.state_dict().values(), strict=True)
        numbers = [pair for pair in pairs if pair[0].is_floating_point()]  # a batch norm's counter is not
        self._average, self._latest = [list(side) for side in zip(*numbers, strict=True)]

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights after a step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._average, self._latest, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """The state, as `load_state_dict` takes it."""
        return {"network": self.network.state_dict(), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.network.load_state_dict(state["network"])
        self._steps = state["steps"]
