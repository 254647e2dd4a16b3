"""The output `bins`: decoded as WHENet decodes, taught as Hopenet and WHENet were taught."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from whc.tasks.head_pose import angles, bins

NAN = float("nan")


def loss_of(raw: Tensor, degrees: object, weights: object = None) -> Tensor:
    rows = torch.as_tensor(degrees, dtype=torch.float32)
    return bins.loss(raw, rows, torch.ones(len(rows)) if weights is None else torch.tensor(weights))


def sure_of(yaw: int, pitch: int, roll: int, outputs: int = bins.LOGIT_COUNT) -> Tensor:
    """One row whose mass is in the bins of these indices."""
    raw = torch.zeros(1, outputs)
    raw[0, yaw] = raw[0, 120 + pitch] = raw[0, 186 + roll] = 100
    return raw


@pytest.fixture
def decoded_by_whenet(shared: Path) -> tuple[Tensor, np.ndarray]:
    """Raw logits (64, 252) and the degrees (64, 3) that the original made of them."""
    theirs = np.load(shared / "peer/whenet/decode.npz")
    names = ("yaw", "pitch", "roll")
    raw = torch.tensor(np.concatenate([theirs[f"{name}_logits"] for name in names], 1))
    return raw, np.stack([theirs[name] for name in names], 1)


@pytest.mark.parametrize("count", [1, 7, 64])
def test_degrees_of_whenet(
    decoded_by_whenet: tuple[Tensor, np.ndarray], run_exported: Callable[..., np.ndarray], count: int
) -> None:
    raw, degrees = decoded_by_whenet
    ours, exported = bins.decode(raw[-count:]).numpy(), run_exported(bins.decode, raw[-count:])
    for decoded in (ours, exported):
        assert decoded.shape == (count, 4)
        assert_allclose(decoded[:, :3], degrees[-count:], rtol=0, atol=5e-4)
        assert np.isnan(decoded[:, 3]).all()


def test_the_expectation_jumps_at_the_seam_as_the_original_s(decoded_by_whenet: tuple[Tensor, np.ndarray]) -> None:
    yaw = bins.decode(decoded_by_whenet[0]).numpy()[-8:, 0]
    assert np.abs(np.diff(yaw)).max() > 200


def test_a_learnt_uncertainty_is_the_last_number(run_exported: Callable[..., np.ndarray]) -> None:
    torch.manual_seed(0)
    raw = torch.randn(5, bins.OUTPUT_COUNT)
    decoded = bins.decode(raw)
    assert (decoded[:, 3] > 0).all()
    torch.testing.assert_close(decoded[:, :3], bins.decode(raw[:, :-1])[:, :3])
    assert_allclose(run_exported(bins.decode, raw), decoded.numpy(), atol=5e-4)


def test_an_index_stands_for_the_lower_edge_of_its_bin() -> None:
    assert_allclose(bins.decode(sure_of(0, 0, 0))[0, :3], [-180, -99, -99], atol=1e-4)
    assert_allclose(bins.decode(sure_of(119, 65, 33))[0, :3], [177, 96, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("degrees", "index"),
    [
        ((-180, -99, -99), (0, 0, 0)),
        ((-178, -96.1, -97), (0, 0, 0)),
        ((179.9, 98.9, 0), (119, 65, 33)),
        ((180, 96, -0.1), (0, 65, 32)),
    ],
)
def test_each_angle_belongs_to_its_bin(degrees: tuple[float, ...], index: tuple[int, int, int]) -> None:
    right = loss_of(sure_of(*index), [degrees])
    assert right < 3 * 9 * bins.REGRESSION_WEIGHT + 1e-3
    for angle in range(3):
        other = list(index)
        other[angle] += 1 if other[angle] < 65 else -1
        assert loss_of(sure_of(*other), [degrees]) > 50


def test_the_loss_is_the_original_s() -> None:
    torch.manual_seed(0)
    raw, degrees = torch.randn(6, bins.LOGIT_COUNT), np.random.default_rng(0).uniform(-90, 90, (6, 3))
    degrees[0, 0] = -179
    decoded, expected = bins.decode(raw).numpy(), 0.0
    for angle, (start, stop, first) in enumerate(((0, 120, -180), (120, 186, -99), (186, 252, -99))):
        logarithms = raw[:, start:stop].log_softmax(1).numpy()
        index = ((degrees[:, angle] - first) // 3).astype(int)
        apart = angles.difference(decoded[:, angle], degrees[:, angle])
        expected += float((-logarithms[np.arange(6), index] + bins.REGRESSION_WEIGHT * apart**2).mean())
    assert loss_of(raw, degrees).item() == pytest.approx(expected, rel=1e-5)


def test_yaw_is_regressed_the_short_way_round() -> None:
    raw = torch.zeros(1, bins.LOGIT_COUNT)
    raw[0, 118] = 5.0  # most of it at 174 degrees
    error = float(angles.difference(bins.decode(raw)[0, 0].item(), -170))
    chance = -float(raw[:, :120].log_softmax(1)[0, 3])
    loss = loss_of(raw, [(-170, NAN, NAN)]).item()
    assert loss == pytest.approx(chance + bins.REGRESSION_WEIGHT * error**2, rel=1e-4)


def test_what_is_not_known_or_has_no_bin_teaches_nothing() -> None:
    torch.manual_seed(0)
    raw = torch.randn(4, bins.OUTPUT_COUNT, requires_grad=True)
    loss = loss_of(raw, [(1, 2, 3), (4, 5, NAN), (NAN, NAN, NAN), (NAN, 120, -130)])
    (gradient,) = torch.autograd.grad(loss, raw)
    assert gradient.isfinite().all()
    parts = [part.any().item() for row in gradient for part in row.split([120, 66, 66, 1])]
    assert parts == [True, True, True, True, True, True, False, False, *([False] * 8)]
    nothing = loss_of(raw[2:], [(NAN, NAN, NAN), (NAN, 120, -130)])
    assert nothing == 0


def test_the_uncertainty_learns_from_whole_poses_alone() -> None:
    raw = torch.zeros(1, bins.OUTPUT_COUNT, requires_grad=True)
    for degrees, taught in (((10, 20, 30), True), ((10, 20, NAN), False)):
        (gradient,) = torch.autograd.grad(loss_of(raw, [degrees]), raw)
        assert bool(gradient[0, -1]) == taught


def test_rows_count_by_their_weights() -> None:
    torch.manual_seed(0)
    raw, degrees = torch.randn(2, bins.OUTPUT_COUNT), [(1, 2, 3), (-170, -20, 5)]
    torch.testing.assert_close(loss_of(raw, degrees, [3.0, 0.0]), loss_of(raw[:1], degrees[:1]))
