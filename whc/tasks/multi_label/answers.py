"""The labels that outputs (M, C) call: an independent probability for each of C labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from whc.tasks.answers import Answers, Outputs
from whc.tasks.showing import GREEN_COLOUR, NOTHING_COLOUR, Bar, Reading, as_unsure, is_unsure
from whc.tasks.smoothing import Votes, border

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
        return self.reading_in(self.votes(output, 0.0, ()), output)

    def reading_in(self, state: Votes, output: Outputs) -> Reading:
        """As `reading`; bar and doubt are of the output, whatever the state."""
        likeliest = int(output.argmax())
        bar = Bar(self.labels[likeliest], float(output[likeliest]), self.threshold)
        reading = Reading(self.state_name(state), GREEN_COLOUR if any(state) else NOTHING_COLOUR, bar)
        return as_unsure(reading) if is_unsure(bar.share, self.threshold) else reading

    def votes(self, output: Outputs, hysteresis: float, earlier: Votes) -> Votes:
        """A vote for each label: whether it is called."""
        before = earlier or (None,) * len(self.labels)
        pairs = zip(output, before, strict=True)
        return tuple(int(value >= border(self.threshold, hysteresis, was_called)) for value, was_called in pairs)

    def state_name(self, state: Votes) -> str:
        """The labels that hold."""
        return ", ".join(self.ongoing(state)) or NO_LABEL

    def ongoing(self, state: Votes) -> tuple[str, ...]:
        """The labels that hold."""
        return tuple(label for label, is_on in zip(self.labels, state, strict=True) if is_on)

    def _called(self, output: Outputs) -> list[str]:
        return [label for label, value in zip(self.labels, output, strict=True) if value >= self.threshold]


ANSWERS = LabelAnswers
