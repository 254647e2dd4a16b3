"""The poses that outputs (M, 4) give: yaw, pitch, roll and the expected error, in degrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whc.tasks.answers import Answers, Outputs
from whc.tasks.head_pose import angles
from whc.tasks.showing import BLUE_COLOUR, GREEN_COLOUR, Colour, Line, Reading, as_unsure

ANGLE_NAMES = ("yaw", "pitch", "roll")
AXIS_COLOURS = (
    (255, 80, 80),
    GREEN_COLOUR,
    BLUE_COLOUR,
)  # to the head's own left edge of the picture, down, along the nose
AXIS_LENGTH = 0.4  # as a share of the crop
UNSURE_DEGREES = 15.0  # a pose is not sure from this expected error on


@dataclass(frozen=True)
class PoseAnswers(Answers):
    """Yaw, pitch and roll of a head."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(4,)."""
        return (4,)

    def check_outputs(self, outputs: Outputs) -> str:
        """Angles, and a learnt uncertainty, are finite and within a full turn."""
        values = outputs if self.config.uncertainty else outputs[:, :3]
        wrong = values[~(np.abs(values) <= 360)]
        return f"must give angles within 360 degrees, got {float(wrong[0])}" if wrong.size else ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The angles in degrees, and the uncertainty if it was learnt."""
        return (*ANGLE_NAMES, *(("uncertainty",) if self.config.uncertainty else ()))

    def cells(self, output: Outputs) -> tuple[str, ...]:
        """Degrees with two digits."""
        return tuple(f"{value:.2f}" for value in output[: len(self.columns)].tolist())

    def reading(self, output: Outputs) -> Reading:
        """The angles in words, and the head's axes from the middle of the crop; not sure from UNSURE_DEGREES on."""
        title = " ".join(f"{name} {value:.0f}" for name, value in zip(ANGLE_NAMES, output.tolist(), strict=False))
        error = float(output[3]) if self.config.uncertainty else 0.0
        title += f" (+-{error:.0f})" if self.config.uncertainty else ""
        reading = Reading(title, GREEN_COLOUR, lines=axis_lines(output[:3]))
        return as_unsure(reading) if error >= UNSURE_DEGREES else reading


def axis_lines(degrees: Outputs, colours: Sequence[Colour] = AXIS_COLOURS) -> tuple[Line, ...]:
    """A head's axes from the middle of its crop, of a pose (3,): yaw, pitch and roll."""
    ends = (0.5 + AXIS_LENGTH * angles.axes(degrees[None])[0]).tolist()
    return tuple(Line((0.5, 0.5), (x, y), colour) for (x, y), colour in zip(ends, colours, strict=True))


ANSWERS = PoseAnswers
