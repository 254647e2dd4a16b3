"""Trained networks that a network in training learns from, beside the labels; their own weights never change."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from whc.models.distillation import features_apart
from whc.models.vit import Vit
from whc.tasks import Loss
from whc.training.batches import Batches


class Teacher(ABC):
    """Gives a part of the loss.

    `batches` makes its pictures, of its own size; None if it sees those of the network in training. `adapter` is what
    is trained to compare the two, and is a part of neither.
    """

    batches: Batches | None = None
    adapter: nn.Module

    def follow(self, network: nn.Module) -> None:
        """Called once with the network in training, before its first step."""
        del network

    @abstractmethod
    def loss(self, raw: Tensor, images: Tensor) -> Tensor:
        """How far the network in training is from the teacher, a scalar.

        Args:
            raw: what it gave (N, ...).
            images: the same pictures as the teacher sees them, the same augmentation included.
        """


class OutputTeacher(Teacher):
    """A network of the same task, whose outputs are learnt.

    Args:
        network: with its decoding; it gives the task's outputs.
        distance: the task's.
        batches: as `Teacher.batches`.
    """

    def __init__(self, network: nn.Module, distance: Loss, batches: Batches | None) -> None:
        self.adapter = nn.Identity()
        self.network, self.batches = network.eval().requires_grad_(False), batches
        self._distance = distance

    def loss(self, raw: Tensor, images: Tensor) -> Tensor:
        """The distance from the teacher's outputs."""
        with torch.no_grad():
            outputs = self.network(images)
        return self._distance(raw, outputs.float())


class FeatureTeacher(Teacher):
    """A plain ViT, whose map of features the backbone's map learns, through a 1x1 convolution where widths differ."""

    def __init__(self, network: Vit, channels: int) -> None:
        self.network = network
        is_alike = channels == network.out_channels
        self.adapter = nn.Identity() if is_alike else nn.Conv2d(channels, network.out_channels, 1)
        self._features: Tensor | None = None

    def follow(self, network: nn.Module) -> None:
        """Look at what its backbone gives."""
        backbone = network.get_submodule("backbone")
        backbone.register_forward_hook(lambda module, images, features: self._keep(features))

    def _keep(self, features: Tensor) -> None:
        self._features = features

    def loss(self, raw: Tensor, images: Tensor) -> Tensor:
        """The distance of the two maps."""
        del raw
        ours, self._features = self._features, None
        assert ours is not None  # noqa: S101 (the network has just been run)
        with torch.no_grad():
            theirs = self.network(images)
        return features_apart(self.adapter(ours.float()), theirs)
