"""The output `rotation`: what it decodes to, what teaches it, and that nothing is special at the seam."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import Tensor

from whc.tasks.head_pose import angles, rotation

NAN = float("nan")
SHARES = [*[rotation._POSE_SHARE] * 6, 1.0]  # of a network's numbers that count
CORNERS = [  # noses straight to a side, up, down and back, in sixes to which a network's zeros add (nose z, up y) of 1
    [0, 0, 0, 0, 0, 0],
    [1, 0, -1, 0, 0, 0],
    [-1, 0, -1, 0, 0, 0],
    [0, 0, -2, 0, 0, 0],
    [0, 1, -1, 0, -1, 1],
    [0, -1, -1, 0, -1, -1],
    [0, 0, 0, 0, -2, 0],
]
poses = st.lists(st.tuples(*(st.floats(-180, 180) for _ in range(3))), min_size=1, max_size=4).map(np.array)


def raw_of(degrees: angles.Floats) -> Tensor:
    """Numbers that stand for poses (N, 3), of any length."""
    m = angles.to_matrices(degrees)
    six = np.concatenate([2.5 * m[:, :, 2] - [0, 0, 1], 0.3 * m[:, :, 1] + 0.2 * m[:, :, 2] - [0, 1, 0]], 1)
    return torch.tensor(np.pad(six, ((0, 0), (0, 1))) / np.array(SHARES), dtype=torch.float32)


def corners() -> Tensor:
    return torch.nn.functional.pad(torch.tensor(CORNERS, dtype=torch.float32), (0, 1)) / torch.tensor(SHARES)


def loss_of(raw: Tensor, degrees: object, weights: object = None) -> Tensor:
    rows = torch.as_tensor(degrees, dtype=torch.float32)
    return rotation.loss(raw, rows, torch.ones(len(rows)) if weights is None else torch.tensor(weights))


@given(poses)
def test_matrices_are_those_of_the_angles(degrees: angles.Floats) -> None:
    assert_allclose(rotation.to_matrices(torch.tensor(degrees)).numpy(), angles.to_matrices(degrees), atol=1e-12)


@given(poses)
def test_a_pose_is_decoded(degrees: angles.Floats) -> None:
    decoded = rotation.decode(raw_of(degrees)).numpy()
    assert_allclose(angles.geodesic(decoded[:, :3], degrees), 0, atol=1e-2)
    assert (np.abs(decoded[:, 1]) <= 90).all()
    # Where yaw and pitch leave roll no choice they are the very same angles.
    steady = (np.abs(np.cos(np.radians(degrees[:, :2]))) > 0.02).all(1)
    expected = angles.to_degrees(angles.to_matrices(degrees))
    assert_allclose(angles.difference(decoded[:, :3], expected)[steady], 0, atol=2e-2)


def test_a_nose_that_crosses_the_seam_moves_on_steadily() -> None:
    yaw = np.arange(170, 190.5, 0.5)
    for pitch in (-20, 0, 20):
        for roll in (-20, 0, 20):
            degrees = np.stack([yaw, np.full_like(yaw, pitch), np.full_like(yaw, roll)], 1)
            decoded = rotation.decode(raw_of(degrees)).numpy()[:, :3]
            assert_allclose(angles.difference(decoded, degrees), 0, atol=1e-3)


def test_an_untrained_network_sees_a_face() -> None:
    decoded = rotation.decode(torch.zeros(1, rotation.OUTPUT_COUNT)).numpy()
    assert_allclose(decoded[:, :3], 0, atol=1e-6)
    assert 1 < decoded[0, 3] < 20


@pytest.mark.parametrize("count", [1, 5, 300])
def test_the_exported_decoding(run_exported: Callable[..., np.ndarray], count: int) -> None:
    torch.manual_seed(count)
    raw = torch.cat([corners(), 30 * torch.randn(300, rotation.OUTPUT_COUNT)])[-count:]
    ours, theirs = rotation.decode(raw).numpy(), run_exported(rotation.decode, raw)
    assert theirs.shape == (count, 4)
    assert_allclose(angles.difference(ours, theirs), 0, atol=1e-3)


def test_the_exported_decoding_is_a_number_in_every_corner(run_exported: Callable[..., np.ndarray]) -> None:
    theirs = run_exported(rotation.decode, corners())
    assert np.isfinite(theirs).all()
    assert_allclose(theirs[:4, 0], [0, -90, 90, 180], atol=1e-4)
    assert_allclose(theirs, rotation.decode(corners()).numpy(), atol=1e-4)


@given(poses, st.integers(0, 2**31))
@settings(max_examples=30)
def test_the_loss_is_the_geodesic_angle(degrees: angles.Floats, seed: int) -> None:
    raw = 20 * torch.randn(len(degrees), rotation.OUTPUT_COUNT, generator=torch.Generator().manual_seed(seed))
    error = angles.geodesic(rotation.decode(raw).numpy()[:, :3], degrees)
    gap = rotation.geodesic(
        rotation._rotations(rotation._head(raw)), rotation.to_matrices(torch.tensor(degrees, dtype=torch.float32))
    )
    assert_allclose(gap.numpy(), np.radians(error), atol=2e-3)


@pytest.mark.parametrize("scale", [0, 1e-6, 1, 1e6])
def test_gradients_are_finite_at_no_error_and_at_half_a_turn(scale: float) -> None:
    degrees = torch.tensor([(10.0, 20, 30), (180, 0, 0), (0, 0, 180), (0, 90, 0), (90, 0, 0)])
    degrees = torch.cat([degrees, degrees * torch.tensor([1, 1, NAN])])
    for raw in (raw_of(degrees.nan_to_num().numpy()), torch.zeros(10, rotation.OUTPUT_COUNT), -10 * torch.ones(10, 7)):
        leaf = (raw * scale).requires_grad_()
        loss = loss_of(leaf, degrees)
        loss.backward()
        assert loss.isfinite()
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


def test_an_error_is_turned_back() -> None:
    raw = raw_of(np.array([(30.0, 10, 0), (170, 0, 20)])).requires_grad_()
    target = [(20, 10, 5), (-175, 5, 20)]
    before = loss_of(raw, target)
    (gradient,) = torch.autograd.grad(before, raw)
    assert loss_of(raw - gradient, target) < before


def test_without_roll_only_the_nose_is_taught() -> None:
    raw = raw_of(np.array([(30.0, 10, 0)])).requires_grad_()
    same_nose = loss_of(raw, [(30, 10, NAN)])
    assert same_nose < 1e-3
    loss = loss_of(raw, [(20, 10, NAN)])
    assert loss.item() == pytest.approx(np.radians(angles.nose_angle([(30, 10, 0)], [(20, 10, 0)])[0]), abs=1e-4)
    (gradient,) = torch.autograd.grad(loss, raw)
    assert gradient[0, :3].any()
    assert not gradient[0, 3:].any()


def test_what_is_not_known_teaches_nothing() -> None:
    raw = torch.randn(4, rotation.OUTPUT_COUNT, requires_grad=True)
    unknown = [(NAN, NAN, NAN), (NAN, 3, 4), (3, NAN, 4)]
    loss = loss_of(raw, [(1, 2, 3), *unknown])
    torch.testing.assert_close(loss, loss_of(raw[:1], [(1, 2, 3)]))
    (gradient,) = torch.autograd.grad(loss, raw)
    assert gradient[0].any()
    assert not gradient[1:].any()
    nothing = loss_of(raw[1:], unknown)
    nothing.backward()
    assert nothing == 0
    assert raw.grad is not None
    assert not raw.grad.any()


def test_rows_count_by_their_weights() -> None:
    raw, degrees = torch.randn(3, rotation.OUTPUT_COUNT), [(1, 2, 3), (50, -20, NAN), (-160, 5, 0)]
    together = loss_of(raw, degrees, [2.0, 0.0, 0.0])
    torch.testing.assert_close(together, loss_of(raw[:1], degrees[:1]))
    twice = loss_of(torch.cat([raw, raw[:1]]), [*degrees, degrees[0]])
    torch.testing.assert_close(twice, loss_of(raw, degrees, [2.0, 1.0, 1.0]))
