"""Angles of a head and their rotations, in numpy.

Degrees are rows (yaw, pitch, roll) in the convention of 300W-LP and AFLW2000. Positive yaw: the nose points to the left
edge of the picture; positive pitch: up; positive roll: the head leans clockwise as seen. An angle that is not known is
NaN, and so are all values that depend on it.

Rotations are 3x3 matrices in the frame right, up, towards the viewer. Their columns are the head's own axes: to the
right edge of a picture that it faces, up, and along the nose. The matrix is Rx(-pitch) Ry(-yaw) Rz(-roll), that of
WHENet's data preparation (Zhou and Gregson 2020).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

YAW_INDEX, PITCH_INDEX, ROLL_INDEX = range(3)


def wrap(degrees: ArrayLike) -> Floats:
    """The same angles within -180 to 180, exact where they are small."""
    angles = np.asarray(degrees, np.float64)
    return np.asarray(angles - 360 * np.rint(angles / 360))


def difference(degrees: ArrayLike, others: ArrayLike) -> Floats:
    """`degrees` minus `others` by the shorter way round the circle, -180 to 180."""
    return wrap(np.asarray(degrees, np.float64) - np.asarray(others, np.float64))


def to_matrices(degrees: ArrayLike) -> Floats:
    """Degrees (N, 3) to rotations (N, 3, 3); without roll the nose, the last column, is known too."""
    yaw, pitch, roll = np.radians(np.asarray(degrees, np.float64)).T
    sin_yaw, sin_pitch, sin_roll = np.sin((yaw, pitch, roll))
    cos_yaw, cos_pitch, cos_roll = np.cos((yaw, pitch, roll))
    # Written out, because in a matrix product a roll of NaN would make the nose NaN too.
    rows = (
        (cos_yaw * cos_roll, cos_yaw * sin_roll, -sin_yaw),
        (
            sin_pitch * sin_yaw * cos_roll - cos_pitch * sin_roll,
            cos_pitch * cos_roll + sin_pitch * sin_yaw * sin_roll,
            sin_pitch * cos_yaw,
        ),
        (
            cos_pitch * sin_yaw * cos_roll + sin_pitch * sin_roll,
            cos_pitch * sin_yaw * sin_roll - sin_pitch * cos_roll,
            cos_pitch * cos_yaw,
        ),
    )
    return np.moveaxis(np.array(rows), 2, 0)


def both_solutions(matrices: ArrayLike) -> Floats:
    """The two triples of degrees (N, 2, 3) that each rotation (N, 3, 3) has; the first one's yaw is within 90.

    At a yaw of 90 pitch and roll turn about the same axis: the first has a roll of 0 there. (Slabaugh 1999.)
    """
    m = np.asarray(matrices, np.float64)
    cos_yaw = np.hypot(m[:, 0, 0], m[:, 0, 1])
    is_locked = cos_yaw < 1e-9
    yaw = np.arctan2(-m[:, 0, 2], cos_yaw)
    pitch = np.where(is_locked, np.arctan2(-m[:, 2, 1], m[:, 1, 1]), np.arctan2(m[:, 1, 2], m[:, 2, 2]))
    roll = np.where(is_locked, 0, np.arctan2(m[:, 0, 1], m[:, 0, 0]))
    first_solution = np.degrees(np.stack([yaw, pitch, roll], 1))
    second_solution = wrap(first_solution * (-1, 1, 1) + 180)
    return np.stack([first_solution, second_solution], 1)


def to_degrees(matrices: ArrayLike) -> Floats:
    """Degrees (N, 3) within -180 to 180 of rotations (N, 3, 3), yaw over its full range.

    The pitch of the chosen solution is within 90, so that roll covers its full range too. WHENet chooses the solution
    whose pitch and roll are within 90; a head upside down has no such solution.
    """
    solutions = both_solutions(matrices)
    return np.asarray(np.where(np.abs(solutions[:, :1, PITCH_INDEX]) <= 90, solutions[:, 0], solutions[:, 1]))


def noses(degrees: ArrayLike) -> Floats:
    """Unit vectors (N, 3) along the nose, in the frame right, up, towards the viewer; roll does not matter."""
    nose: Floats = to_matrices(degrees)[:, :, 2]
    return nose


def _degrees_of_noses(noses: Floats) -> Floats:
    """Degrees (N, 3) of noses (N, 3), pitch within 90, roll NaN."""
    right, up, front = noses.T
    side = np.where(front >= 0, 1.0, -1.0)  # behind the head yaw is beyond 90
    yaw = np.arctan2(-right, side * np.hypot(up, front))
    pitch = np.arctan2(side * up, side * front)
    return np.stack([np.degrees(yaw), np.degrees(pitch), np.full_like(yaw, np.nan)], 1)


def from_pan_tilt(pan_tilt: ArrayLike) -> Floats:
    """Degrees (N, 3), roll NaN, of heads turned by pan, then raised by tilt, (N, 2) in degrees.

    Yaw is not pan: at pan 90 and tilt 60 yaw is 30 and pitch 90.
    """
    pan, tilt = np.radians(np.asarray(pan_tilt, np.float64)).T
    return _degrees_of_noses(np.stack([-np.cos(tilt) * np.sin(pan), np.sin(tilt), np.cos(tilt) * np.cos(pan)], 1))


def nose_angle(degrees: ArrayLike, others: ArrayLike) -> Floats:
    """The angle between noses (N,), 0 to 180 degrees; roll does not matter."""
    ours, theirs = noses(degrees), noses(others)
    # Kahan's form is exact for small and large angles; acos is not.
    apart, together = np.linalg.norm(ours - theirs, axis=1), np.linalg.norm(ours + theirs, axis=1)
    return np.asarray(np.degrees(2 * np.arctan2(apart, together)))


def geodesic(degrees: ArrayLike, others: ArrayLike) -> Floats:
    """The angle (N,) of the rotation from one pose to the other, 0 to 180 degrees."""
    between = np.swapaxes(to_matrices(degrees), 1, 2) @ to_matrices(others)
    axis = between[:, (2, 0, 1), (1, 2, 0)] - between[:, (1, 2, 0), (2, 0, 1)]  # its length is twice the sine
    twice_cosine = np.trace(between, axis1=1, axis2=2) - 1
    return np.asarray(np.degrees(np.arctan2(np.linalg.norm(axis, axis=1), twice_cosine)))


def mirror(degrees: ArrayLike) -> Floats:
    """The pose in a picture whose left and right are swapped, (N, 3) degrees."""
    return np.asarray(degrees, np.float64) * (-1.0, 1.0, -1.0)


def turn(degrees: ArrayLike, clockwise: ArrayLike) -> Floats:
    """The pose in a picture that is turned clockwise as seen, (N, 3) by degrees (N,): all three angles change.

    Without roll, only the nose is turned. Without yaw or pitch, the result is NaN. A turn by 0 changes nothing.
    """
    original = np.asarray(degrees, np.float64)
    angle = np.broadcast_to(np.asarray(clockwise, np.float64), len(original))
    zero = np.zeros_like(angle)
    m = to_matrices(np.stack([zero, zero, angle], 1)) @ to_matrices(original)
    has_roll = ~np.isnan(original[:, ROLL_INDEX, None])
    turned = np.where(has_roll, to_degrees(m), _degrees_of_noses(m[:, :, 2]))
    return np.where(angle[:, None] == 0, original, turned)


def axes(degrees: ArrayLike) -> Floats:
    """End points of the head's axes in the picture, (N, 3, 2), x to the right and y down in units of their length.

    The axes start in the head's middle: to the right edge of a picture that it faces, down, and along the nose. Without
    roll, only the nose is known. These are the axes that WHENet's demo draws in red, green and blue.
    """
    m = to_matrices(degrees)
    return np.stack([m[:, :2, 0], -m[:, :2, 1], m[:, :2, 2]], 1) * (1.0, -1.0)
