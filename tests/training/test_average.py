"""The moving average of a network's weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from whc.training.average import Average


def moved(network: nn.Module, value: float) -> None:
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(value)


@given(decay=st.floats(0.01, 0.999), values=st.lists(st.floats(-3, 3), min_size=1, max_size=20))
def test_it_is_the_recursion_that_it_claims(decay: float, values: list[float]) -> None:
    network = nn.Linear(2, 1)
    moved(network, 5.0)
    average, expected = Average(network, decay), 5.0
    for step, value in enumerate(values, start=1):
        moved(network, value)
        average.update()
        now = min(decay, (1 + step) / (10 + step))
        expected = now * expected + (1 - now) * value
    for weight in average.network.parameters():
        assert torch.allclose(weight, torch.full_like(weight, expected), atol=1e-5)
    assert network.bias.item() == pytest.approx(values[-1])


def test_statistics_of_batches_are_averaged_and_their_count_is_left_alone() -> None:
    network = nn.BatchNorm1d(3)
    average = Average(network, 0.5)
    network(torch.full((4, 3), 7.0) + torch.arange(4.0)[:, None])
    average.update()
    mean = average.network.state_dict()["running_mean"]
    assert torch.all((mean > 0) & (mean < network.state_dict()["running_mean"]))
    assert average.network.state_dict()["num_batches_tracked"] == 0


def test_it_goes_on_from_its_state_as_if_it_had_not_stopped() -> None:
    network = nn.Linear(2, 1)
    through, first = Average(network, 0.9), Average(network, 0.9)
    for value in (1.0, 2.0):
        moved(network, value)
        through.update()
        first.update()
    second = Average(network, 0.9)
    second.load_state_dict(first.state_dict())
    moved(network, 3.0)
    through.update()
    second.update()
    assert torch.equal(through.network.weight, second.network.weight)
    assert not torch.equal(through.network.weight, first.network.weight)
