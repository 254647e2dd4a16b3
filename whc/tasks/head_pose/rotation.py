"""The output `rotation`: a rotation and its expected error, without a seam and without gimbal lock.

A network gives 7 numbers. The first three point along the nose, the next three roughly up; Gram-Schmidt makes them a
rotation (Zhou et al. 2019). Six zeros are a head that faces the viewer. The last number is the uncertainty.
An untrained network's numbers are about 1 in size. A tenth of each counts for the pose, so that training begins near
such a head: in trials of 20 epochs the mean error of the angles was 3.8 degrees then, and 4.7 without.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from whc.tasks.head_pose.uncertainty import to_uncertainty, uncertainty_loss

OUTPUT_COUNT = 7
_POSE_SHARE = 0.1  # of the numbers of the pose; the uncertainty's number is not scaled
# Of the uncertainty's loss, added to the angle in radians; with a larger weight the features learn less of the pose.
_UNCERTAINTY_WEIGHT = 0.3


def to_matrices(degrees: Tensor) -> Tensor:
    """Degrees (N, 3) to rotations (N, 3, 3), as `whc.tasks.head_pose.angles.to_matrices`; no NaN."""
    (sin_yaw, sin_pitch, sin_roll), (cos_yaw, cos_pitch, cos_roll) = (
        wave(degrees.deg2rad()).unbind(1) for wave in (torch.sin, torch.cos)
    )
    zero, unit = torch.zeros_like(sin_yaw), torch.ones_like(sin_yaw)
    pitched = [unit, zero, zero, zero, cos_pitch, sin_pitch, zero, -sin_pitch, cos_pitch]
    yawed = [cos_yaw, zero, -sin_yaw, zero, unit, zero, sin_yaw, zero, cos_yaw]
    rolled = [cos_roll, sin_roll, zero, -sin_roll, cos_roll, zero, zero, zero, unit]
    pitch, yaw, roll = (torch.stack(entries, 1).view(-1, 3, 3) for entries in (pitched, yawed, rolled))
    return pitch @ yaw @ roll


def _head(raw: Tensor) -> Tensor:
    """Raw numbers (N, 7) to vectors along the nose and roughly up, and the uncertainty's number, in one row (N, 7)."""
    # Made on the device of `raw`: copying constants from the CPU would halt a GPU at each step.
    place = torch.arange(OUTPUT_COUNT, device=raw.device)
    facing = ((place == 2) | (place == 4)).to(raw.dtype)  # the nose towards the viewer, up upwards
    return raw * torch.where(place < 6, _POSE_SHARE, 1.0) + facing


def _rotations(head: Tensor) -> Tensor:
    """The rotations (N, 3, 3) of such rows, columns right, up, nose."""
    nose, upwards = normalize(head[:, :3], dim=1), head[:, 3:6]
    up = normalize(upwards - (upwards * nose).sum(1, keepdim=True) * nose, dim=1)
    return torch.stack([_cross(up, nose), up, nose], 2)


def rotations(raw: Tensor) -> Tensor:
    """Raw numbers (N, 7) to rotations (N, 3, 3), columns right, up, nose."""
    return _rotations(_head(raw))


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """The cross product of (N, 3) and (N, 3), in operations that ONNX has."""
    x, y, z = a.unbind(1)
    u, v, w = b.unbind(1)
    return torch.stack([y * w - z * v, z * u - x * w, x * v - y * u], 1)


def _angle(axis: Tensor, cosine: Tensor) -> Tensor:
    """Radians (N,) from a vector (N, 3) as long as the sine, and the cosine (N,).

    The gradient stays finite everywhere: acos has none at 0 and half a turn, a plain length none at 0.
    """
    return torch.atan2((axis.square().sum(1) + 1e-12).sqrt(), cosine)


def geodesic(rotations: Tensor, others: Tensor) -> Tensor:
    """The angle (N,) between rotations (N, 3, 3) in radians; never quite 0, see `_angle`."""
    between = rotations.transpose(1, 2) @ others
    axis = torch.stack([between[:, i, j] - between[:, j, i] for i, j in ((2, 1), (0, 2), (1, 0))], 1) / 2
    return _angle(axis, (between.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2)


def loss(raw: Tensor, degrees: Tensor, row_weights: Tensor) -> Tensor:
    """The mean geodesic angle in radians, plus the weighted loss of the uncertainty.

    Args:
        raw: (N, 7) raw outputs of the network.
        degrees: (N, 3) yaw, pitch, roll; NaN if unknown. A row without roll counts only with the direction of its nose;
            a row without yaw or pitch does not count.
        row_weights: (N,).

    Returns:
        A scalar, a weighted mean over the rows that count.
    """
    is_complete = ~degrees.isnan().any(1)
    has_nose = ~degrees[:, :2].isnan().any(1)
    head = _head(raw)
    ours, theirs = _rotations(head), to_matrices(degrees.nan_to_num())
    angle = geodesic(ours, theirs)
    nose, true_nose = ours[:, :, 2], theirs[:, :, 2]
    error = torch.where(is_complete, angle, _angle(_cross(nose, true_nose), (nose * true_nose).sum(1)))
    weights = row_weights * has_nose
    fit = (weights * error).sum() / weights.sum().clamp(min=1e-12)
    return fit + _UNCERTAINTY_WEIGHT * uncertainty_loss(head[:, 6], angle.rad2deg(), row_weights * is_complete)


def decode(raw: Tensor) -> Tensor:
    """Raw numbers (N, 7) to yaw, pitch, roll and uncertainty (N, 4) in degrees, pitch within 90.

    The same as `angles.to_degrees` of the rotation, in few operations: each operation slows the smallest networks.
    Lengths cancel out of an angle, so nothing is normalised.
    """
    nose_x, nose_y, nose_z, up_x, up_y, up_z, uncertainty = torch.split(_head(raw), 1, 1)
    flat = nose_y * nose_y + nose_z * nose_z
    length = (nose_x * nose_x + flat).sqrt()
    up_across = up_x * flat - nose_x * (up_y * nose_y + up_z * nose_z)
    right_across = length * (up_y * nose_z - up_z * nose_y)
    side = torch.where(nose_z < 0, -1.0, 1.0)
    sines = torch.cat([-nose_x, side * nose_y, side * up_across], 1)
    cosines = side * torch.cat([flat.sqrt(), nose_z, right_across], 1)
    return torch.cat([_atan2_degrees(sines, cosines), to_uncertainty(uncertainty)], 1)


def _atan2_degrees(y: Tensor, x: Tensor) -> Tensor:
    """`torch.atan2` in degrees; ONNX has no such operator, and the exporter's replacement is three times as long."""
    half_turn = torch.where(x < 0, torch.where(y < 0, -180.0, 180.0), 0.0)
    divisor = torch.where(x == 0, 1e-12, x)  # not a sum: the exporter drops summands that it takes for 0
    return torch.atan(y / divisor) * (180 / math.pi) + half_turn
