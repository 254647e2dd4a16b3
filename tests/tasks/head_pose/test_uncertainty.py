"""The uncertainty learns the mean error of what looks alike, and leaves the pose alone."""

from __future__ import annotations

import pytest
import torch

from whc.tasks.head_pose.uncertainty import to_uncertainty, uncertainty_loss


@pytest.mark.parametrize("mean", [0.5, 3.0, 40.0])
def test_the_best_uncertainty_is_the_mean_error(mean: float) -> None:
    torch.manual_seed(0)
    errors = torch.rand(500) * 2 * mean
    raw = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([raw], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = uncertainty_loss(raw.expand(500), errors, torch.ones(500))
        loss.backward()
        return loss

    optimizer.step(closure)
    assert to_uncertainty(raw).item() == pytest.approx(errors.mean().item(), rel=0.01)


def test_it_does_not_move_the_pose() -> None:
    error = torch.ones(4, requires_grad=True)
    raw = torch.zeros(4, requires_grad=True)
    uncertainty_loss(raw, error, torch.ones(4)).backward()
    assert error.grad is None
    assert raw.grad is not None


def test_it_is_a_positive_number_of_degrees_for_any_number() -> None:
    degrees = to_uncertainty(torch.tensor([-1e6, -50.0, 0.0, 50.0, 1e6]))
    assert degrees.isfinite().all()
    assert (degrees > 0).all()
    assert (degrees.diff() >= 0).all()
