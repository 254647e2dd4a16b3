"""How much memory training a network takes, told before it begins: shapes decide it, and they are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

ADAM = 2  # tensors of a weight's size that the optimiser keeps
FLOAT_BYTES = 4
FEW = 2, 3  # images; one alone has no variance for BatchNorm


def training_bytes(network: nn.Module, batch: tuple[int, ...], averaged: bool, evaluation_batch: int) -> int:
    """Bytes at the peak of a training step in fp32, or of scoring where that takes more; code and data left out.

    A step holds the weights, their gradients, Adam's two moments, their average, what the forward pass keeps for the
    backward pass (as PyTorch itself tells it, `torch.autograd.graph.saved_tensors_hooks`), and the gradients on either
    side of the largest layer. What is kept of `FEW` images tells what is kept of many: each takes as much as the next.

    Args:
        network: any weights; it is run, so that its statistics change.
        batch: shape of a training step's images.
        averaged: whether an average of the weights is kept.
        evaluation_batch: images scored at once.
    """
    weights = sum(_bytes(tensor) for tensor in network.parameters())
    states = weights * (2 + ADAM + averaged) + sum(_bytes(tensor) for tensor in network.buffers())
    (fewer, these), (more, those) = (_kept(network, torch.zeros(count, *batch[1:])) for count in FEW)
    beyond = (batch[0] - FEW[0]) / (FEW[1] - FEW[0])
    activations = round(fewer + beyond * (more - fewer))
    largest = round(max(one + beyond * (other - one) for one, other in zip(these, those, strict=True)))
    images = FLOAT_BYTES * math.prod(batch)
    return states + images + max(activations + 2 * largest, 2 * largest * evaluation_batch // batch[0])


def _kept(network: nn.Module, images: Tensor) -> tuple[int, list[int]]:
    """Bytes kept for the backward pass, weights left out, and those of each tensor that is kept or used again."""
    ours = {_storage(tensor) for tensor in network.parameters()}
    kept: dict[int, Tensor] = {}
    sizes: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(_bytes(tensor))
        alone = tensor.detach()  # the graph holds what this returns, and a tensor that holds the graph would never go
        if _storage(alone) not in ours:
            kept[_storage(alone)] = alone  # held, so that its storage is no other's
        return alone

    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(images)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), sizes


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
