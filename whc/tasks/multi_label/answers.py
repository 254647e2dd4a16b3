"""The labels that outputs (M, C) call: an independent probability for each of C labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from whc.tasks.answers import Answers, Outputs
from whc.tasks.showing import GREEN_COLOUR, NOTHING_COLOUR, Bar, Reading, as_unsure, is_unsure

NO_LABEL = "no label"


@dataclass(frozen=True)
class LabelAnswers(Answers):
    """Any of `labels` for each input."""

    text_columns: ClassVar[tuple[str, ...]] = ("labels",)

    @property
    def threshold(self) -> float:
        """Least probability from which a label is called."""
        return cast("float", self.config.threshold)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(C,)."""
        return (len(self.labels),)

    def check_outputs(self, outputs: Outputs) -> str:
        """Probabilities are in 0..1."""
        wrong = outputs[~((outputs >= 0) & (outputs <= 1))]
        return f"must give probabilities in 0..1, got {float(wrong[0])}" if wrong.size else ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels called, and the probability of each label."""
        return ("labels", *(f"prob_{label}" for label in self.labels))

    def cells(self, output: Outputs) -> tuple[str, ...]:
        """Labels with `;` between them, probabilities with six digits."""
        return (";".join(self._called(output)), *(f"{value:.6f}" for value in output.tolist()))

    def reading(self, output: Outputs) -> Reading:
        """The called labels; the bar shows the likeliest label, which is not sure near the threshold."""
        called, likeliest = self._called(output), int(output.argmax())
        bar = Bar(self.labels[likeliest], float(output[likeliest]), self.threshold)
        reading = Reading(", ".join(called) or NO_LABEL, GREEN_COLOUR if called else NOTHING_COLOUR, bar)
        return as_unsure(reading) if is_unsure(bar.share, self.threshold) else reading

    def _called(self, output: Outputs) -> list[str]:
        return [label for label, value in zip(self.labels, output, strict=True) if value >= self.threshold]


ANSWERS = LabelAnswers
