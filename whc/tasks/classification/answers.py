"""The classes that outputs call: probabilities of the positive class (M,), or of each of C classes (M, C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from whc.tasks.answers import Answers, Outputs
from whc.tasks.showing import BLUE_COLOUR, GREEN_COLOUR, UNSURE_SHARE, Bar, Reading, as_unsure, is_unsure

POSITIVE_CLASS = 1


@dataclass(frozen=True)
class ClassAnswers(Answers):
    """One class of `labels` for each input, labels in order of class_id."""

    text_columns: ClassVar[tuple[str, ...]] = ("label",)

    @property
    def threshold(self) -> float:
        """Least probability called positive."""
        return cast("float", self.config.threshold)

    @property
    def is_binary(self) -> bool:
        """Whether there are two classes, one of which is the positive one."""
        return len(self.labels) == 2

    @property
    def output_shape(self) -> tuple[int, ...]:
        """() for two classes, (C,) for more."""
        return () if self.is_binary else (len(self.labels),)

    def check_outputs(self, outputs: Outputs) -> str:
        """Probabilities are in 0..1; a NaN would otherwise count as the negative class."""
        wrong = outputs[~((outputs >= 0) & (outputs <= 1))]
        return f"must give probabilities in 0..1, got {float(wrong[0])}" if wrong.size else ""

    def called(self, outputs: Outputs) -> NDArray[np.int64]:
        """Class ids (M,) called for outputs (M,) or (M, C)."""
        if outputs.ndim == 1:
            return (outputs >= self.threshold).astype(np.int64)
        return np.asarray(outputs.argmax(1), np.int64)

    @property
    def _probability_columns(self) -> tuple[str, ...]:
        return tuple(f"prob_{label}" for label in (self.labels[POSITIVE_CLASS:] if self.is_binary else self.labels))

    @property
    def columns(self) -> tuple[str, ...]:
        """The label called, its probability, and the probability of the positive label or of each."""
        return ("label", "probability", *self._probability_columns)

    def cells(self, output: Outputs) -> tuple[str, ...]:
        """Probabilities with six digits."""
        class_id = int(self.called(output[None])[0])
        if output.ndim:
            probability = float(output[class_id])
        else:
            probability = float(output if class_id == POSITIVE_CLASS else 1 - output)
        numbers = (probability, *np.atleast_1d(output).tolist())
        return (self.labels[class_id], *(f"{value:.6f}" for value in numbers))

    @property
    def frame_columns(self) -> tuple[str, ...]:
        """For two labels: the called label, the probability of the positive one, and whether it is called."""
        return ("label", "probability", "positive") if self.is_binary else self.columns

    def frame_cells(self, output: Outputs) -> tuple[str, ...]:
        """As `frame_columns`."""
        if not self.is_binary:
            return self.cells(output)
        class_id = int(self.called(output[None])[0])
        return (self.labels[class_id], f"{float(output):.6f}", str(int(class_id == POSITIVE_CLASS)))

    def reading(self, output: Outputs) -> Reading:
        """The called label; the bar shows the positive label of two, or the called label of more.

        It is not sure near the threshold, or where the likeliest of more labels leads by less than UNSURE_SHARE.
        """
        class_id = int(self.called(output[None])[0])
        label = self.labels[class_id]
        if self.is_binary:
            colour = GREEN_COLOUR if class_id == POSITIVE_CLASS else BLUE_COLOUR
            reading = Reading(label, colour, Bar(self.labels[POSITIVE_CLASS], float(output), self.threshold))
            return as_unsure(reading) if is_unsure(float(output), self.threshold) else reading
        reading = Reading(label, GREEN_COLOUR, Bar(label, float(output[class_id])))
        second, best = np.sort(output)[-2:].tolist()
        return as_unsure(reading) if best - second < UNSURE_SHARE else reading


ANSWERS = ClassAnswers
