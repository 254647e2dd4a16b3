"""Learning-rate schedules: three of them behind one interface, which is called after each step and each epoch."""

from __future__ import annotations

from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

ScheduleName = Literal["one_cycle", "cosine", "plateau"]
PLATEAU_FACTOR, PLATEAU_EPOCHS = 0.5, 2  # of the original trainers


class Schedule:
    """Sets an optimiser's learning rate.

    Args:
        optimizer: its learning rate is the peak.
        name: `one_cycle` rises over the first `warmup` of all steps and falls to almost nothing (Smith and Topin 2018);
            `cosine` falls along half a cosine (Loshchilov and Hutter 2017); `plateau` halves whenever the validation
            loss has not fallen for more than 2 epochs, as the original trainers do.
        lr: peak learning rate.
        warmup: fraction of all steps, used by `one_cycle` alone.
        steps: number of steps of the whole training.
    """

    def __init__(self, optimizer: Optimizer, name: ScheduleName, lr: float, warmup: float, steps: int) -> None:
        self._by_step: OneCycleLR | CosineAnnealingLR | None = None
        self._by_epoch: ReduceLROnPlateau | None = None
        if name == "plateau":
            self._by_epoch = ReduceLROnPlateau(optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_EPOCHS)
        elif name == "cosine":
            self._by_step = CosineAnnealingLR(optimizer, steps)
        else:
            # OneCycleLR divides by zero when the warm-up is exactly its first step.
            warmup = warmup / 2 if warmup * steps == 1 else warmup
            self._by_step = OneCycleLR(optimizer, lr, total_steps=steps, pct_start=warmup)

    def step_ended(self) -> None:
        """Called after each step of the optimiser."""
        if self._by_step:
            self._by_step.step()

    def epoch_ended(self, val_loss: float) -> None:
        """Called after each epoch, with its validation loss."""
        if self._by_epoch:
            self._by_epoch.step(val_loss)

    def state_dict(self) -> dict[str, Any]:
        """The complete state: plain numbers and lists."""
        return dict(self._running.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self._running.load_state_dict(state)

    @property
    def _running(self) -> OneCycleLR | CosineAnnealingLR | ReduceLROnPlateau:
        running = self._by_step or self._by_epoch
        assert running is not None  # noqa: S101 (one of the two, by construction)
        return running
