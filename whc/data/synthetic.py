"""Rendered clips of hands that wave or do not: for tests, demonstrations, and a first study without own data.

One frame does not show the class, several frames do. Each clip draws a path for everything that can move (the swing of
the arm, its place, its slow drift, the fingers), in the same way for every kind of motion. A kind *plays* some paths,
and *freezes* the others at a random frame. Frozen or played, a path has the same values equally often. So the pictures
of all kinds follow one distribution, and only their order in time differs.

Clips are of different difficulty, so that a ladder has steps: hands are near or far, swing a little or much, and some
have something in front of them. Far hands take more pixels, and hidden ones more frames.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from whc.data.dataset import SPLIT_NAMES, Size
from whc.data.preprocess import Image
from whc.errors import UsageError, problem
from whc.records import replacing

Motion = Literal["waving", "still", "drifting", "passing", "opening"]
MOTION_KINDS: tuple[Motion, ...] = get_args(Motion)
CLASS_LABELS = ("no_waving_hand", "waving_hand")
FRAME_RATE = 10
DEFAULT_CLIPS = 560
FRAME_SIZE: Size = (48, 48)

_PARQUET_SCHEMA = pa.schema(
    {
        "split": pa.string(),
        "image_path": pa.string(),
        "image_bytes": pa.binary(),
        "class_id": pa.int64(),
        "label": pa.string(),
        "source": pa.string(),
        "video_id": pa.string(),
        "timestamp": pa.int64(),
        "person_id": pa.string(),
        "motion": pa.string(),
    },
    metadata={"whc.frame_rate": json.dumps(FRAME_RATE)},
)

# Clips of one person, in this order: both classes come first, so that a small data set has them too.
_SESSION_MOTIONS: tuple[Motion, ...] = ("waving", "still", "passing", "waving", "opening", "drifting", "waving")
_PLAYED_PATHS = {"waving": "swing", "still": "", "drifting": "wander", "passing": "place", "opening": "fingers"}
_CLIP_FRAMES = (12, 16)
_HELD_OUT_SHARE = 0.15
_DISTANCES = (1.0, 1.8)  # of a hand, in times the nearest; far hands need more pixels
_COVERED_SHARE = 0.2  # of the clips have something in front of the hand; that needs more frames

# Shapes are drawn larger by this factor, in fixed point, and then reduced by averaging: cheap anti-aliasing.
_DRAWING_SCALE = 4
_FRACTION_BITS = 4

# Joints of a right hand seen from its palm, in palm lengths: origin at the wrist, y up, thumb at positive x.
_KNUCKLE_POINTS = ((0.29, 0.93), (0.10, 1.00), (-0.10, 0.96), (-0.28, 0.84))
_FINGER_LENGTHS = (0.72, 0.80, 0.74, 0.57)
_FINGER_ANGLES = (11.0, 2.0, -7.0, -17.0)  # degrees from straight up, spread fingers
_PHALANX_SHARES = (0.46, 0.30, 0.24)  # shares of a finger's length
_CURL_ANGLES = (75.0, 175.0, 235.0)  # degrees each phalanx leans towards the viewer in a fist
_FOREARM_LENGTH = 1.5

# Points around a unit circle.
_CIRCLE_POINTS = np.array([(np.cos(turn), np.sin(turn)) for turn in np.arange(0, 2 * np.pi, np.pi / 8)])

Colour = tuple[float, float, float]
_DARK_SKIN, _LIGHT_SKIN = np.array((86.0, 54.0, 40.0)), np.array((240.0, 196.0, 168.0))


@dataclass(frozen=True)
class _Person:
    """A person: RGB skin colour, and proportions as factors of the average hand's."""

    skin: NDArray[np.float64]
    finger_length: float
    breadth: float


class _Pose(NamedTuple):
    """One frame: forearm and wrist in radians, elbow's offset in frame heights, fingers 0 (fist) .. 1 (open)."""

    forearm: float
    wrist: float
    x: float
    y: float
    openness: float


def render(
    out: Path, clips: int = DEFAULT_CLIPS, seed: int = 0, on_progress: Callable[[int, int], None] | None = None
) -> Path:
    """Render labelled clips and write them as `out/dataset.parquet`; one seed gives the same bytes again.

    Frames are 48x48 JPEG files at 10 frames a second, 12 to 16 a clip. Each person records all kinds of motion (3 of 7
    clips wave), and is in one split only; about 70, 15 and 15 % of the people are in train, val and test. With fewer
    than 18 clips some kinds of negatives are left out.

    Args:
        out: output folder, created if missing.
        clips: number of clips.
        seed: 0 or more.
        on_progress: called with the number of clips rendered and of all clips.

    Raises:
        UsageError: too few clips to give every split both classes, or a negative seed.
        DataError: the folder cannot be written.
    """
    if clips < 2 * len(SPLIT_NAMES):
        rule = f"must be at least {2 * len(SPLIT_NAMES)} to give every split both classes"
        raise UsageError(problem("--clips", rule, clips, "ask for more clips"))
    if seed < 0:
        raise UsageError(problem("--seed", "must be 0 or more", seed, "choose another seed"))
    people = max(len(SPLIT_NAMES), clips // len(_SESSION_MOTIONS))
    columns: dict[str, list[object]] = {name: [] for name in _PARQUET_SCHEMA.names}
    for index in range(clips):
        for row in _rows_of_clip(seed, index, people):
            for name, value in row.items():
                columns[name].append(value)
        if on_progress:
            on_progress(index + 1, clips)
    return _write(pa.table(columns, _PARQUET_SCHEMA), out / "dataset.parquet")


def _rows_of_clip(seed: int, index: int, people: int) -> Iterator[dict[str, object]]:
    """Rows of clip number `index`. Clips are dealt to the people in turn."""
    person = index % people
    motion = _SESSION_MOTIONS[index // people % len(_SESSION_MOTIONS)]
    held_out = max(1, round(_HELD_OUT_SHARE * people))
    split = "test" if person >= people - held_out else "val" if person >= people - 2 * held_out else "train"
    rng = np.random.default_rng([seed, index])
    frames = int(rng.integers(_CLIP_FRAMES[0], _CLIP_FRAMES[1], endpoint=True))
    identity = _person(np.random.default_rng([seed, person, 1]))
    class_id = int(motion == "waving")
    for timestamp, picture in enumerate(_film(identity, motion, frames, FRAME_SIZE, rng)):
        encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        yield {
            "split": split,
            "image_path": f"clip_{index:05d}/{timestamp:02d}.jpg",
            "image_bytes": encoded.tobytes(),
            "class_id": class_id,
            "label": CLASS_LABELS[class_id],
            "source": "synthetic",
            "video_id": f"clip_{index:05d}",
            "timestamp": timestamp,
            "person_id": f"person_{person:04d}",
            "motion": motion,
        }


def _write(table: pa.Table, path: Path) -> Path:
    with replacing(path) as temporary:
        pq.write_table(table, temporary)
    return path


def clip(seed: int, motion: Motion, frames: int, size: Size = FRAME_SIZE) -> Image:
    """A clip of a hand.

    The middle square of the picture shows the hand as the frames of `render` do. So a network that is trained on those
    works on that square, cut out of a wider picture.

    Args:
        seed: 0 or more; chooses person, scene and movement.
        motion: one of MOTION_KINDS.
        frames: number of frames T, at 10 a second.
        size: (height, width) in pixels.

    Returns:
        uint8 (T, height, width, 3) RGB.
    """
    rng = np.random.default_rng([seed, 0, 2])
    return np.stack(list(_film(_person(rng), motion, frames, size, rng)))


def _person(rng: np.random.Generator) -> _Person:
    skin = _DARK_SKIN + (_LIGHT_SKIN - _DARK_SKIN) * rng.random() + rng.normal(0, 5, 3)
    return _Person(skin, finger_length=rng.uniform(0.88, 1.12), breadth=rng.uniform(0.88, 1.12))


def _film(person: _Person, motion: Motion, frames: int, size: Size, rng: np.random.Generator) -> Iterator[Image]:
    """Frames of one clip: scene, light and sensor stay the same, only the hand moves."""
    height, width = size
    edge = min(size)
    distance = rng.uniform(*_DISTANCES)  # 1: near; a hand twice as far is half as large and moves half as much
    unit = edge * rng.uniform(0.21, 0.26) / distance
    elbow = np.array((width / 2, height)) - edge * (1 - 1 / distance) * np.array((rng.uniform(-0.4, 0.4), rng.random()))
    mirrored = rng.random() < 0.5
    sleeve = rng.uniform(20, 230, 3) if rng.random() < 0.6 else None
    cuff = rng.uniform(0.3, 1.0)
    scene = _background(size, rng)
    cover = _cover(size, elbow, unit, rng)
    light = _light(size, rng)
    noise = rng.uniform(1, 6)
    blur = rng.uniform(0.0, 0.6) * edge / FRAME_SIZE[0]
    for pose in _poses(motion, frames, rng):
        canvas = scene.copy()
        moved = elbow + np.array((pose.x, pose.y)) * edge / distance
        pen = _Pen(canvas, moved * _DRAWING_SCALE, unit * _DRAWING_SCALE, mirrored)
        _draw_arm(pen, person, pose, sleeve, cuff)
        _draw_hand(pen, person, pose)
        if cover:
            cv2.fillConvexPoly(canvas, *cover)
        picture = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        if blur > 0.2:
            picture = cv2.GaussianBlur(picture, (0, 0), blur)
        noisy = picture * light * rng.normal(1, 0.01) + rng.normal(0, noise, picture.shape)
        yield np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _cover(
    size: Size, elbow: NDArray[np.float64], unit: float, rng: np.random.Generator
) -> tuple[NDArray[np.intp], Colour] | None:
    """Something still in front of a part of the hand, in some clips: corners at drawing size, and a colour."""
    height, width = (edge * _DRAWING_SCALE for edge in size)
    hand = elbow + np.array((rng.uniform(-1, 1), -_FOREARM_LENGTH - rng.uniform(0, 1.2))) * unit
    sides = (rng.uniform(0.6, 1.4) * unit * _DRAWING_SCALE, max(height, width))
    corners = cv2.boxPoints((tuple(hand * _DRAWING_SCALE), sides, rng.uniform(0, 180)))
    colour = rng.uniform(20, 230, 3)
    return (corners.astype(np.intp), _shade(colour, 1.0)) if rng.random() < _COVERED_SHARE else None


def _poses(motion: Motion, frames: int, rng: np.random.Generator) -> Iterator[_Pose]:
    """The poses of a clip. Every kind of motion draws the same numbers; kinds differ only in the paths they play."""
    seconds = np.arange(frames) / FRAME_RATE
    plays = _PLAYED_PATHS[motion]

    def times(path: str) -> NDArray[np.float64]:
        moment = seconds[rng.integers(frames)]
        return seconds if path == plays else np.full(frames, moment)

    def sine(path: str, slowest: float, fastest: float) -> NDArray[np.float64]:
        turns = rng.uniform(slowest, fastest) * times(path) + rng.random()
        return np.asarray(2 * np.pi * turns)

    swing = sine("swing", 1.3, 2.4) + sine("wander", 0.08, 0.2)
    arc, lean, flick = np.radians((rng.uniform(10, 24), rng.uniform(-7, 7), rng.uniform(4, 14)))
    lag = rng.uniform(0.3, 1.2)
    crossing = rng.uniform(0.5, 1.0)
    start = rng.uniform(0, max(0.0, frames / FRAME_RATE - crossing))
    place = np.clip(2 * (times("place") - start) / crossing - 1, -1, 1) * rng.choice((-1, 1))
    wander = np.stack((np.sin(sine("wander", 0.1, 0.3)), np.sin(sine("wander", 0.1, 0.3))))
    fingers = (1 + np.sin(sine("fingers", 0.7, 1.5))) / 2
    tremor = rng.normal(0, 1, (4, frames))
    for i in range(frames):
        yield _Pose(
            forearm=lean + arc * np.sin(swing[i]) + 0.01 * tremor[0, i],
            # The hand lags behind the forearm. It depends on the swing alone, so a frozen swing looks no different.
            wrist=flick * np.sin(swing[i] - lag) + 0.01 * tremor[1, i],
            x=0.13 * place[i] + 0.05 * wander[0, i] + 0.003 * tremor[2, i],
            y=0.05 * wander[1, i] + 0.003 * tremor[3, i],
            openness=fingers[i],
        )


def _background(size: Size, rng: np.random.Generator) -> Image:
    """A still scene at drawing size: a gradient between two colours, and soft shapes."""
    height, width = (edge * _DRAWING_SCALE for edge in size)
    grey = rng.uniform(50, 220)
    corners = np.clip(grey + rng.normal(0, 22, (2, 2, 3)), 0, 255).astype(np.uint8)
    scene = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    for _ in range(rng.integers(2, 8)):
        colour = tuple(np.clip(grey + rng.normal(0, 45) + rng.normal(0, 30, 3), 0, 255))
        centre = (rng.uniform(0, width), rng.uniform(0, height))
        axes = (rng.uniform(0.05, 0.4) * width, rng.uniform(0.05, 0.4) * height)
        turn = rng.uniform(0, 180)
        if rng.random() < 0.5:
            cv2.ellipse(scene, (centre, axes, turn), colour, cv2.FILLED)
        else:
            cv2.fillConvexPoly(scene, np.intp(cv2.boxPoints((centre, axes, turn))), colour)
    return np.asarray(cv2.blur(scene, (2 * _DRAWING_SCALE + 1,) * 2), np.uint8)


def _light(size: Size, rng: np.random.Generator) -> NDArray[np.float64]:
    """Gain of each pixel and channel, (height, width, 3): brightness, tint, and one side brighter than the other."""
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    turn, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.25)
    gain = rng.uniform(0.65, 1.15) * (1 + slope * (x * np.cos(turn) + y * np.sin(turn)))
    return np.asarray(gain[..., None] * rng.normal(1, 0.05, 3))


@dataclass
class _Pen:
    """Draws rounded limbs in palm lengths on a canvas; `origin` (x, y) and `unit` are in its pixels.

    `turn` is the angle of the drawing's y axis from straight up, in radians, positive to the right (unless mirrored).
    """

    canvas: Image
    origin: NDArray[np.float64]
    unit: float
    mirrored: bool
    turn: float = 0.0

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (P, 2) in palm lengths, y up, to pixels, y down."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        turned = points @ np.array(((cos, -sin), (sin, cos)))
        if self.mirrored:
            turned = turned * (-1, 1)
        return np.asarray(self.origin + self.unit * turned * (1, -1))

    def limb(self, joints: Sequence[tuple[float, float, float]], colour: Colour, grow: float = 0.0) -> None:
        """Fill the hull of circles (x, y, radius); `grow` is added to the radii, for outlines."""
        circles = np.array(joints)
        points = circles[:, None, :2] + (circles[:, 2] + grow)[:, None, None] * _CIRCLE_POINTS
        fixed = np.rint(self.pixels(points.reshape(-1, 2)) * 2**_FRACTION_BITS).astype(np.int32)
        cv2.fillConvexPoly(self.canvas, cv2.convexHull(fixed), colour, shift=_FRACTION_BITS)


def _shade(colour: NDArray[np.float64], factor: float) -> Colour:
    # Shadows on skin are redder than the skin.
    red, green, blue = np.clip(colour * (factor ** np.array((0.8, 1.1, 1.2))), 0, 255)
    return float(red), float(green), float(blue)


def _draw_arm(pen: _Pen, person: _Person, pose: _Pose, sleeve: NDArray[np.float64] | None, cuff: float) -> None:
    """The forearm from below the elbow to the wrist, and the sleeve; leaves the pen at the wrist."""
    narrow, wide = 0.25 * person.breadth, 0.36 * person.breadth
    # A far hand is within the picture as far as the upper arm, which hangs from the elbow and does not turn.
    hanging = ((0.0, -10.0, wide), (0.0, 0.0, wide))
    pen.limb(hanging, _shade(person.skin if sleeve is None else sleeve, 0.72), grow=0.04)
    pen.turn = pose.forearm
    arm = ((0.0, -1.2, wide), (0.0, 0.2, wide), (0.0, _FOREARM_LENGTH, narrow))
    pen.limb(arm, _shade(person.skin, 0.72), grow=0.04)
    pen.limb(arm, _shade(person.skin, 0.94))
    if sleeve is not None:
        cloth = ((0.0, -1.2, wide + 0.12), (0.0, cuff - 0.3, wide + 0.1))
        pen.limb(cloth, _shade(sleeve, 0.6), grow=0.05)
        pen.limb(cloth, _shade(sleeve, 1.0))
    pen.origin = pen.pixels(np.array(((0.0, _FOREARM_LENGTH),)))[0]


def _draw_hand(pen: _Pen, person: _Person, pose: _Pose) -> None:
    """Palm, fingers and thumb; parts nearer to the viewer are drawn later."""
    pen.turn = pose.forearm + pose.wrist
    broad = person.breadth
    edge, fill, lit = (_shade(person.skin, factor) for factor in (0.62, 1.0, 1.1))
    palm = [(0.2 * broad, 0.02, 0.1), (-0.2 * broad, 0.02, 0.1), (0.3 * broad, 0.35, 0.12), (-0.31 * broad, 0.4, 0.1)]
    palm += [(x * broad, y - 0.07, 0.1) for x, y in _KNUCKLE_POINTS]
    pen.limb(palm, edge, grow=0.03)
    pen.limb(palm, fill)
    pen.limb([(-0.14 * broad, 0.35, 0.14), (-0.12 * broad, 0.5, 0.1)], lit)
    for index in range(4):
        _draw_digit(pen, _finger(person, pose, index), 0.105 * broad, (edge, fill, lit))
    pen.limb([(0.2 * broad, 0.2, 0.13), (0.3 * broad, 0.36, 0.12)], lit)
    _draw_digit(pen, _thumb(person, pose), 0.12 * broad, (edge, fill, lit))


def _finger(person: _Person, pose: _Pose, index: int) -> list[tuple[float, float]]:
    """Joints (x, y) of a finger that curls towards the viewer, from the knuckle to the tip."""
    x, y = _KNUCKLE_POINTS[index]
    fan = np.radians(_FINGER_ANGLES[index] * (0.2 + 0.8 * pose.openness))
    joints = [(x * person.breadth, y)]
    for share, curl in zip(_PHALANX_SHARES, _CURL_ANGLES, strict=True):
        length = share * _FINGER_LENGTHS[index] * person.finger_length * np.cos(np.radians(curl) * (1 - pose.openness))
        x, y = joints[-1]
        joints.append((x + length * np.sin(fan), y + length * np.cos(fan)))
    return joints


def _thumb(person: _Person, pose: _Pose) -> list[tuple[float, float]]:
    """Joints of the thumb: it points away from an open hand and lies across a fist."""
    joints = [(0.27 * person.breadth, 0.3)]
    for length, opened, closed in ((0.36, 48.0, 12.0), (0.36, 28.0, -62.0)):
        angle = np.radians(closed + (opened - closed) * pose.openness)
        x, y = joints[-1]
        joints.append((x + length * np.sin(angle), y + length * np.cos(angle)))
    return joints


def _draw_digit(
    pen: _Pen, joints: Sequence[tuple[float, float]], radius: float, colours: tuple[Colour, Colour, Colour]
) -> None:
    """A finger or thumb, phalanx by phalanx: outline, fill, and a lit ridge that makes it look round."""
    edge, fill, lit = colours
    radii = np.linspace(radius, 0.8 * radius, len(joints))
    circles = [(x, y, float(r)) for (x, y), r in zip(joints, radii, strict=True)]
    bones = [circles[i : i + 2] for i in range(len(circles) - 1)]
    for bone in bones:
        pen.limb(bone, edge, grow=0.03)
        pen.limb(bone, fill)
    # The outline of each phalanx cut into the one before it: draw over the joints.
    for bone in bones:
        pen.limb([(x, y, 0.45 * r) for x, y, r in bone], lit)
