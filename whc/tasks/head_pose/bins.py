"""The output `bins`: three angles as expectations over bins of 3 degrees (Hopenet, Ruiz et al. 2018; WHENet 2020).

A network gives 120 logits for yaw, 66 for pitch and 66 for roll, and one number more if it learnt its uncertainty. An
expectation is not circular: of a head seen from behind, with mass on both sides of 180 degrees, yaw is far off.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from whc.tasks.head_pose.rotation import geodesic, to_matrices
from whc.tasks.head_pose.uncertainty import to_uncertainty, uncertainty_loss

BIN_DEGREES = 3
BIN_COUNTS = [120, 66, 66]  # of yaw, pitch and roll
FIRST_DEGREES = (-180, -99, -99)  # of the lower edge of the first bin
LOGIT_COUNT = sum(BIN_COUNTS)
OUTPUT_COUNT = LOGIT_COUNT + 1
REGRESSION_WEIGHT = 0.01  # of the squared error in degrees; the cross-entropy weighs 1


def _by_angle(raw: Tensor) -> tuple[Tensor, ...]:
    """The logits of yaw (N, 120), of pitch and of roll (N, 66)."""
    return torch.split(raw[:, :LOGIT_COUNT], BIN_COUNTS, 1)


def _expectations(raw: Tensor) -> Tensor:
    """Raw numbers (N, 252 or more) to degrees (N, 3): the expected lower edge of the bin."""
    angles = []
    for logits, first_degrees in zip(_by_angle(raw), FIRST_DEGREES, strict=True):
        edges = torch.arange(logits.shape[1], dtype=raw.dtype, device=raw.device) * BIN_DEGREES + first_degrees
        angles.append(logits.softmax(1) @ edges)
    return torch.stack(angles, 1)


def rotations(raw: Tensor) -> Tensor:
    """Raw numbers (N, 252 or more) to rotations (N, 3, 3), as `rotation.to_matrices`."""
    return to_matrices(_expectations(raw))


def loss(raw: Tensor, degrees: Tensor, row_weights: Tensor) -> Tensor:
    """The cross-entropy of each angle's bins plus the squared error of its expectation, for yaw on the circle.

    Args:
        raw: (N, 252), or (N, 253) with an uncertainty, whose loss is added.
        degrees: (N, 3) yaw, pitch, roll. An angle that is NaN or outside the bins is left out.
        row_weights: (N,).

    Returns:
        A scalar: the weighted mean over the rows with that angle, summed over the angles.
    """
    decoded = _expectations(raw)
    total = raw.sum() * 0
    for angle, logits in enumerate(_by_angle(raw)):
        true = degrees[:, angle]
        bins = ((true - FIRST_DEGREES[angle]) / BIN_DEGREES).floor()
        if angle == 0:
            bins = bins % BIN_COUNTS[0]  # 180 is -180
        weights = row_weights * ((bins >= 0) & (bins < BIN_COUNTS[angle]))  # no comparison holds for NaN
        error = (decoded[:, angle] - true.nan_to_num()).abs()
        if angle == 0:
            error = torch.minimum(error, 360 - error)
        missed = cross_entropy(logits, bins.nan_to_num().clamp(0, BIN_COUNTS[angle] - 1).long(), reduction="none")
        total = total + (weights * (missed + REGRESSION_WEIGHT * error.square())).sum() / weights.sum().clamp(min=1e-12)
    if raw.shape[1] == OUTPUT_COUNT:
        is_complete = ~degrees.isnan().any(1)
        error = geodesic(to_matrices(decoded), to_matrices(degrees.nan_to_num())).rad2deg()
        total = total + uncertainty_loss(raw[:, LOGIT_COUNT], error, row_weights * is_complete)
    return total


def decode(raw: Tensor) -> Tensor:
    """Raw numbers (N, 252 or 253) to yaw, pitch, roll and uncertainty (N, 4) in degrees; NaN if not learnt."""
    decoded = _expectations(raw)
    unknown = torch.full_like(decoded[:, :1], torch.nan)
    return torch.cat([decoded, to_uncertainty(raw[:, LOGIT_COUNT:]) if raw.shape[1] == OUTPUT_COUNT else unknown], 1)
