"""Memory that training a network takes, estimated before it begins from the shapes of its tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

ADAM_TENSORS = 2  # tensors of a weight's size that the optimiser keeps
FLOAT_BYTES = 4
TRIAL_IMAGES = 2, 3  # sizes of two small batches; a single image has no variance for BatchNorm


def training_bytes(network: nn.Module, batch: tuple[int, ...], averaged: bool, evaluation_batch: int) -> int:
    """Bytes at the peak of a training step in fp32, or of scoring where that takes more; code and data left out.

    A step holds the weights, their gradients, Adam's two moments, their average, the tensors saved for the backward
    pass (as counted by `torch.autograd.graph.saved_tensors_hooks`), and the gradients on either side of the largest
    layer. Saved bytes grow linearly with the number of images, so two small batches (`TRIAL_IMAGES`) tell them for any.

    Args:
        network: with any weights; it is run, which changes its batch statistics.
        batch: shape of a training step's images.
        averaged: whether there is an average of the weights.
        evaluation_batch: images scored at once.
    """
    weights = sum(_bytes(tensor) for tensor in network.parameters())
    states = weights * (2 + ADAM_TENSORS + averaged) + sum(_bytes(tensor) for tensor in network.buffers())
    (bytes_of_2, sizes_of_2), (bytes_of_3, sizes_of_3) = (
        _saved(network, torch.zeros(count, *batch[1:])) for count in TRIAL_IMAGES
    )
    beyond = (batch[0] - TRIAL_IMAGES[0]) / (TRIAL_IMAGES[1] - TRIAL_IMAGES[0])
    activations = round(bytes_of_2 + beyond * (bytes_of_3 - bytes_of_2))
    pairs = zip(sizes_of_2, sizes_of_3, strict=True)
    largest = round(max(size_of_2 + beyond * (size_of_3 - size_of_2) for size_of_2, size_of_3 in pairs))
    images = FLOAT_BYTES * math.prod(batch)
    return states + images + max(activations + 2 * largest, 2 * largest * evaluation_batch // batch[0])


def inference_bytes(network: nn.Module, batch: tuple[int, ...]) -> int:
    """Bytes at the peak of a pass without gradients in fp32: weights, images, and what is between the layers.

    That is the input and output of the largest layer twice, as a block keeps what it adds to its result.

    Args:
        network: with any weights, for evaluation; it is run on one image.
        batch: shape of the images.
    """
    largest = 0

    def look(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        tensors = [item for item in (*given, output) if isinstance(item, Tensor)]
        largest = max(largest, sum(map(_bytes, tensors)))

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    try:
        with torch.no_grad():
            network(torch.zeros(1, *batch[1:]))
    finally:
        for hook in hooks:
            hook.remove()
    weights = sum(map(_bytes, (*network.parameters(), *network.buffers())))
    return weights + FLOAT_BYTES * math.prod(batch) + 2 * batch[0] * largest


def _saved(network: nn.Module, images: Tensor) -> tuple[int, list[int]]:
    """Bytes saved for the backward pass without the weights, and the bytes of each tensor at each saving."""
    weight_storages = {_storage(tensor) for tensor in network.parameters()}
    tensors: dict[int, Tensor] = {}
    sizes: list[int] = []

    def save(tensor: Tensor) -> Tensor:
        sizes.append(_bytes(tensor))
        detached = tensor.detach()  # the graph holds the returned tensor, which must not hold the graph
        if _storage(detached) not in weight_storages:
            tensors[_storage(detached)] = detached  # held, so that no other tensor gets the same storage
        return detached

    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        network.train()(images)
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors.values()), sizes


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
