"""How much memory training a network takes, told before it begins: shapes decide it, and they are known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ADAM = 2  # tensors of a weight's size that the optimiser keeps
FLOAT_BYTES = 4


def training_bytes(network: nn.Module, batch: tuple[int, ...], averaged: bool, evaluation_batch: int) -> int:
    """Bytes at the peak of a training step in fp32, or of scoring where that takes more; code and data left out.

    A step holds the weights, their gradients, Adam's two moments, their average, what the forward pass keeps for the
    backward pass (as PyTorch itself tells it, `torch.autograd.graph.saved_tensors_hooks`), and the gradients on either
    side of the largest layer.

    Args:
        network: on the meta device, where nothing is computed.
        batch: shape of a training step's images.
        averaged: whether an average of the weights is kept.
        evaluation_batch: images scored at once.
    """
    weights = sum(_bytes(tensor) for tensor in network.parameters())
    states = weights * (2 + ADAM + averaged) + sum(_bytes(tensor) for tensor in network.buffers())
    ours = {_storage(tensor) for tensor in network.parameters()}
    kept: dict[int, Tensor] = {}
    largest = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, _bytes(tensor))
        if _storage(tensor) not in ours:
            kept[_storage(tensor)] = tensor  # held, so that its storage is no other's
        return tensor

    images = torch.empty(batch, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(images)
    activations = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    scoring = 2 * largest * evaluation_batch // batch[0]
    return states + _bytes(images) + max(activations + 2 * largest, scoring)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
