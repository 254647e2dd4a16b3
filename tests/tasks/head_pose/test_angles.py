"""Angles, rotations and pictures agree with each other, and with WHENet's data preparation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from whc.tasks.head_pose import angles
from whc.tasks.head_pose.angles import Floats

any_angle = st.floats(-180, 180)
poses = st.lists(st.tuples(any_angle, any_angle, any_angle), min_size=1, max_size=4).map(np.array)
# The poses that `to_degrees` gives: of yaw all, of pitch and roll what a head upright or nearly so has.
upright = st.lists(
    st.tuples(any_angle, st.floats(-89.99, 89.99), st.floats(-89.99, 89.99)), min_size=1, max_size=4
).map(np.array)


def pose(yaw: float, pitch: float, roll: float) -> Floats:
    return np.array([[yaw, pitch, roll]], np.float64)


def turned_picture(points: Floats, clockwise: float) -> Floats:
    """Points (..., 2), x to the right and y down, of a picture after it is turned."""
    cos, sin = np.cos(np.radians(clockwise)), np.sin(np.radians(clockwise))
    return points @ np.array([[cos, sin], [-sin, cos]])


def test_rotations_of_whenet(shared: Path) -> None:
    theirs = np.load(shared / "peer/whenet/euler.npz")
    matrices = theirs["matrices"][:, :3, :3]
    both, chosen = np.degrees(theirs["two_solutions"])[:, :, (1, 0, 2)], theirs["chosen"][:, (1, 0, 2)]
    assert len(matrices) == 200
    assert np.abs(chosen[:, 0]).max() > 170
    assert_allclose(angles.to_matrices(chosen), matrices, rtol=0, atol=1e-9)
    assert_allclose(angles.difference(angles.both_solutions(matrices), both), 0, rtol=0, atol=1e-9)
    assert_allclose(angles.to_degrees(matrices), chosen, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("degrees", "nose"),
    [
        ((0, 0, 33), (0, 0, 1)),
        ((30, 0, 0), (-0.5, 0, np.sqrt(0.75))),  # to the left
        ((0, 30, 0), (0, 0.5, np.sqrt(0.75))),  # up
        ((180, 0, 0), (0, 0, -1)),  # away from the viewer
        ((150, 60, 0), (-0.5, -0.75, -np.sqrt(3) / 4)),  # beyond 90 the sign of pitch turns over
    ],
)
def test_where_the_nose_points(degrees: tuple[float, ...], nose: tuple[float, ...]) -> None:
    assert_allclose(angles.noses(pose(*degrees)), [nose], atol=1e-12)
    assert_allclose(angles.noses(pose(*degrees[:2], np.nan)), [nose], atol=1e-12)


@given(poses)
def test_matrices_are_rotations_and_keep_the_pose(degrees: Floats) -> None:
    matrices = angles.to_matrices(degrees)
    assert_allclose(matrices @ np.swapaxes(matrices, 1, 2), np.broadcast_to(np.eye(3), matrices.shape), atol=1e-12)
    assert_allclose(np.linalg.det(matrices), 1)
    for solution in (angles.to_degrees(matrices), *angles.both_solutions(matrices).swapaxes(0, 1)):
        assert_allclose(angles.to_matrices(solution), matrices, atol=2e-9)
        assert (np.abs(solution) <= 180).all()


@given(upright)
def test_degrees_come_back(degrees: Floats) -> None:
    again = angles.to_degrees(angles.to_matrices(degrees))
    # Near a yaw of 90 pitch and roll are hardly told apart: the pose is the same all the same.
    assert_allclose(angles.geodesic(again, degrees), 0, atol=1e-6)
    steady = np.abs(np.cos(np.radians(degrees[:, 0]))) > 1e-3
    assert_allclose(angles.difference(again, degrees)[steady], 0, atol=1e-9)


@pytest.mark.parametrize("yaw", [90, -90])
def test_at_a_yaw_of_90_roll_is_0(yaw: float) -> None:
    degrees = pose(yaw, 20, 30)
    again = angles.to_degrees(angles.to_matrices(degrees))
    assert again[0, 2] == 0
    assert_allclose(angles.geodesic(again, degrees), 0, atol=1e-9)


@given(st.tuples(st.floats(-180, 180), st.floats(-89, 89)))
def test_pan_and_tilt_give_the_nose(pan_tilt: tuple[float, float]) -> None:
    pan, tilt = np.radians(pan_tilt)
    degrees = angles.from_pan_tilt([pan_tilt])
    expected = [[-np.cos(tilt) * np.sin(pan), np.sin(tilt), np.cos(tilt) * np.cos(pan)]]
    assert_allclose(angles.noses(degrees), expected, atol=1e-12)
    assert np.abs(degrees[0, 1]) <= 90
    assert np.isnan(degrees[0, 2])
    # Without tilt, and straight ahead, both pairs of angles are the same.
    assert_allclose(angles.difference(angles.from_pan_tilt([(pan_tilt[0], 0)])[0, 0], pan_tilt[0]), 0, atol=1e-9)
    assert_allclose(angles.from_pan_tilt([(0, pan_tilt[1])])[0, 1], pan_tilt[1], atol=1e-9)


def test_yaw_is_not_pan() -> None:
    assert_allclose(angles.from_pan_tilt([(90, 60), (-90, -60)])[:, :2], [(30, 90), (-30, -90)])


@given(st.floats(-1e4, 1e4), st.integers(-5, 5))
def test_angles_are_wrapped(degrees: float, turns: int) -> None:
    assert -180 <= angles.wrap(degrees) <= 180
    assert_allclose(np.exp(1j * np.radians(angles.wrap(degrees))), np.exp(1j * np.radians(degrees)), atol=1e-9)
    assert_allclose(angles.difference(degrees, degrees + 360 * turns), 0, atol=1e-9)


def test_half_a_turn_is_not_forgiven() -> None:
    assert_allclose(angles.difference([179, -179, 90, 1e-20], [-179, 179, -90, 0]), [-2, 2, 180, 1e-20])


@given(poses, poses, poses)
def test_geodesic_is_a_distance(first: Floats, second: Floats, third: Floats) -> None:
    one, two, three = first[:1], second[:1], third[:1]
    there, back = angles.geodesic(one, two), angles.geodesic(two, one)
    assert_allclose(there, back, atol=1e-9)
    assert 0 <= there[0] <= 180
    assert_allclose(angles.geodesic(one, one), 0, atol=1e-9)
    assert angles.geodesic(one, three) <= there + angles.geodesic(two, three) + 1e-6
    assert angles.nose_angle(one, two) <= there + 1e-6


@given(any_angle, any_angle)
def test_one_angle_alone_is_the_geodesic(before: float, after: float) -> None:
    apart = abs(angles.difference(before, after))
    for axis in range(3):
        assert_allclose(angles.geodesic(np.eye(3)[[axis]] * before, np.eye(3)[[axis]] * after), apart, atol=1e-6)
    assert_allclose(angles.nose_angle(pose(before, 0, 11), pose(after, 0, np.nan)), apart, atol=1e-6)


def test_small_angles_are_exact() -> None:
    assert_allclose(angles.geodesic(pose(1e-7, 0, 0), pose(0, 0, 0)), 1e-7, rtol=1e-6)
    assert_allclose(angles.nose_angle(pose(1e-7, 0, 0), pose(0, 0, 0)), 1e-7, rtol=1e-6)


@given(poses)
def test_a_flip_swaps_left_and_right_of_what_is_drawn(degrees: Floats) -> None:
    assert_array_equal(angles.mirror(angles.mirror(degrees)), degrees)
    assert_allclose(angles.noses(angles.mirror(degrees)), angles.noses(degrees) * (-1, 1, 1), atol=1e-12)
    # The axis to the right is now drawn to the left: mirrored, it is turned round as well.
    flipped = angles.axes(degrees) * (-1, 1) * np.array([-1, 1, 1])[:, None]
    assert_allclose(angles.axes(angles.mirror(degrees)), flipped, atol=1e-12)


@given(poses, any_angle)
def test_what_is_drawn_turns_with_the_picture(degrees: Floats, clockwise: float) -> None:
    after = angles.turn(degrees, clockwise)
    assert_allclose(angles.axes(after), turned_picture(angles.axes(degrees), clockwise), atol=1e-8)
    nose_alone = degrees * (1, 1, np.nan)
    drawn = angles.axes(angles.turn(nose_alone, clockwise))[:, 2]
    assert_allclose(drawn, turned_picture(angles.axes(degrees)[:, 2], clockwise), atol=1e-8)


@given(upright, any_angle)
def test_a_turn_is_undone(degrees: Floats, clockwise: float) -> None:
    again = angles.turn(angles.turn(degrees, clockwise), -clockwise)
    assert_allclose(angles.geodesic(again, degrees), 0, atol=1e-6)
    nose_alone = degrees * (1, 1, np.nan)
    again = angles.turn(angles.turn(nose_alone, clockwise), -clockwise)
    assert_allclose(angles.nose_angle(again, degrees), 0, atol=1e-6)
    assert_array_equal(angles.turn(degrees, 0), degrees)


def test_a_turn_is_a_roll_of_who_looks_ahead_and_more_of_others() -> None:
    assert_allclose(angles.turn(pose(0, 0, 5), 12), pose(0, 0, 17), atol=1e-12)
    yaw, pitch, roll = angles.turn(pose(40, 0, 0), 30)[0]
    assert pitch > 20
    assert yaw < 35
    assert roll > 30


def test_each_row_has_its_own_turn() -> None:
    both = angles.turn([(0, 0, 0), (0, 0, 0)], [10, -20])
    assert_allclose(both, [(0, 0, 10), (0, 0, -20)], atol=1e-12)


def test_what_is_not_known_stays_so() -> None:
    nan = np.nan
    some = np.array([(1, 2, nan), (1, nan, 3), (nan, 2, 3), (nan, nan, nan)])
    known = ~np.isnan(some)
    assert_array_equal(~np.isnan(angles.wrap(some)), known)
    assert_array_equal(~np.isnan(angles.mirror(some)), known)
    assert_array_equal(~np.isnan(angles.turn(some, 0)), known)
    assert_array_equal(~np.isnan(angles.turn(some, 10)), known & [[True], [False], [False], [False]])
    assert np.isnan(angles.geodesic(some, np.zeros((4, 3)))).all()
    assert_array_equal(np.isnan(angles.nose_angle(some, np.zeros((4, 3)))), [False, True, True, True])
    assert_array_equal(np.isnan(angles.axes(some[:1]))[0, :, 0], [True, True, False])
    assert np.isnan(angles.to_degrees(angles.to_matrices(some))).any(1).all()


def test_the_axes_that_whenet_draws() -> None:
    yaw, pitch, roll = np.radians((-35, 20, -10))
    drawn = [
        (
            np.cos(yaw) * np.cos(roll),
            np.cos(pitch) * np.sin(roll) + np.cos(roll) * np.sin(pitch) * np.sin(yaw),
        ),
        (
            -np.cos(yaw) * np.sin(roll),
            np.cos(pitch) * np.cos(roll) - np.sin(pitch) * np.sin(yaw) * np.sin(roll),
        ),
        (np.sin(yaw), -np.cos(yaw) * np.sin(pitch)),
    ]
    assert_allclose(angles.axes(pose(35, 20, -10)), [drawn], atol=1e-12)
