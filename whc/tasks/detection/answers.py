"""The boxes that outputs (M, K, 6) give: score, class, cx, cy, w, h as shares of the picture, best first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from whc.tasks.answers import Answers, Outputs
from whc.tasks.showing import BLUE_COLOUR, GREEN_COLOUR, NOTHING_COLOUR, Line, Reading, as_unsure, is_unsure

BOX_COLUMNS = ("score", "label", "cx", "cy", "w", "h")
BOX_COLOURS = (GREEN_COLOUR, BLUE_COLOUR, (255, 180, 80), (240, 120, 240), (255, 90, 90), (90, 220, 220))


@dataclass(frozen=True)
class BoxAnswers(Answers):
    """Boxes of objects, for some classes."""

    text_columns: ClassVar[tuple[str, ...]] = ("label", "boxes")

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(K, 6)."""
        return (self.config.max_boxes, 6)

    def check_outputs(self, outputs: Outputs) -> str:
        """Numbers are finite, scores lie in 0..1."""
        if not np.isfinite(outputs).all():
            return f"must give finite numbers, got {float(outputs[~np.isfinite(outputs)][0])}"
        scores = outputs[..., 0]
        wrong = scores[~((scores >= 0) & (scores <= 1))]
        return f"must give scores in 0..1, got {float(wrong[0])}" if wrong.size else ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Of one box."""
        return BOX_COLUMNS

    def cells(self, output: Outputs) -> tuple[str, ...]:
        """The best box, empty where none is above the threshold."""
        return self.table_rows(output)[0]

    def table_rows(self, output: Outputs) -> Sequence[tuple[str, ...]]:
        """A row a box above the threshold; an empty one where there is none."""
        found = [
            (f"{score:.6f}", self.labels[int(label)], *(f"{share:.6f}" for share in box))
            for score, label, *box in self.found_boxes(output).tolist()
        ]
        return found or [("",) * len(BOX_COLUMNS)]

    @property
    def picture_columns(self) -> tuple[str, ...]:
        """As of a stream's frames."""
        return self.frame_columns

    def picture_cells(self, output: Outputs) -> tuple[str, ...]:
        """As of a stream's frames."""
        return self.frame_cells(output)

    @property
    def frame_columns(self) -> tuple[str, ...]:
        """How many boxes, and all of them as JSON."""
        return ("count", "boxes")

    def frame_cells(self, output: Outputs) -> tuple[str, ...]:
        """Boxes as lists of score, class, cx, cy, w, h."""
        shown = [[round(value, 6) for value in box] for box in self.found_boxes(output).tolist()]
        return str(len(shown)), json.dumps(shown)

    @property
    def _what(self) -> str:
        return self.labels[0] if len(self.labels) == 1 else "object"

    def reading(self, output: Outputs) -> Reading:
        """Boxes above the threshold, and how many of each class; not sure if the best is near the threshold."""
        shown = self.found_boxes(output)
        counts = [(label, int((shown[:, 1] == i).sum())) for i, label in enumerate(self.labels)]
        title = ", ".join(f"{count} {label}" for label, count in counts if count) or f"no {self._what}"
        lines = [line for _, label, *box in shown.tolist() for line in _outline(box, int(label))]
        reading = Reading(title, GREEN_COLOUR if len(shown) else NOTHING_COLOUR, lines=tuple(lines))
        return as_unsure(reading) if is_unsure(float(output[0, 0]), self.config.threshold) else reading

    def found_boxes(self, output: Outputs) -> Outputs:
        """Those from the threshold on."""
        shown: Outputs = output[output[:, 0] >= self.config.threshold]
        return shown


ANSWERS = BoxAnswers


def _outline(box: Sequence[float], label: int) -> list[Line]:
    """The four sides of a box cx, cy, w, h."""
    colour = BOX_COLOURS[label % len(BOX_COLOURS)]
    cx, cy, w, h = box
    left, top, right, bottom = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return [Line(corners[i - 1], corners[i], colour) for i in range(4)]
