"""Each schedule moves the rate as its source says, and goes on from its state."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from whc.training.schedule import PLATEAU_EPOCHS, PLATEAU_FACTOR, Schedule, ScheduleName

PEAK = 0.1


def made(name: ScheduleName, steps: int = 20) -> tuple[torch.optim.Optimizer, Schedule]:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=PEAK)
    return optimizer, Schedule(optimizer, name, PEAK, 0.25, steps)


def rates(name: ScheduleName, losses: list[float], steps_an_epoch: int) -> list[float]:
    optimizer, schedule = made(name, len(losses) * steps_an_epoch)
    rates_seen = []
    for loss in losses:
        for _ in range(steps_an_epoch):
            rates_seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step_ended()
        schedule.epoch_ended(loss)
    return rates_seen


def test_one_cycle_rises_over_the_warm_up_and_falls_to_nothing() -> None:
    rates_seen = rates("one_cycle", [1.0] * 4, 10)
    top = rates_seen.index(max(rates_seen))
    assert rates_seen[top] == pytest.approx(PEAK)
    assert top == pytest.approx(0.25 * 40, abs=1)
    assert rates_seen[: top + 1] == sorted(rates_seen[: top + 1])
    assert rates_seen[top:] == sorted(rates_seen[top:], reverse=True)
    assert rates_seen[-1] < PEAK / 1000


def test_cosine_falls_from_the_peak() -> None:
    rates_seen = rates("cosine", [1.0] * 4, 10)
    assert rates_seen[0] == PEAK
    assert rates_seen == sorted(rates_seen, reverse=True)
    assert rates_seen[20] == pytest.approx(PEAK / 2)


def test_plateau_halves_when_the_loss_has_not_fallen_for_more_than_two_epochs() -> None:
    losses = [1.0, 0.9, *[0.9] * (PLATEAU_EPOCHS + 1), 0.8, 0.7]
    assert rates("plateau", losses, 1) == pytest.approx([PEAK] * 5 + [PEAK * PLATEAU_FACTOR] * 2)


@pytest.mark.parametrize("name", ["one_cycle", "cosine", "plateau"])
def test_it_goes_on_from_its_state(name: ScheduleName) -> None:
    optimizer, schedule = made(name)
    for _ in range(7):
        optimizer.step()
        schedule.step_ended()
        schedule.epoch_ended(1.0)
    other, resumed = made(name)
    other.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    for _ in range(6):
        for each_optimizer, each_schedule in ((optimizer, schedule), (other, resumed)):
            each_optimizer.step()
            each_schedule.step_ended()
            each_schedule.epoch_ended(1.0)
        assert optimizer.param_groups[0]["lr"] == other.param_groups[0]["lr"]
