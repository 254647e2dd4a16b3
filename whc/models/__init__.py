"""Networks, assembled from plug-ins: colour space -> backbone -> head, under a sequence model."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Foldable(Protocol):
    """A module that can merge what is linear in it; exporters ask for it on a copy in evaluation mode."""

    def fold(self) -> None:
        """Merge in place, so that the module computes the same with less."""
