"""The metric in which people read scores."""

from __future__ import annotations

from whc.records.files import Record

NO_TEST_SPLIT = "no test split"


class Metric(Record):
    """How a score (0..1, higher is better) is named and read.

    `key` names columns and tracked values. With an `error_scale` people read the error (1 - score) * error_scale, in
    `unit`; without it the score itself. `digits` counts the digits after the point.
    """

    key: str
    name: str
    unit: str = ""
    error_scale: float | None = None
    digits: int = 4

    def value(self, score: float) -> float:
        """The number that people read."""
        return score if self.error_scale is None else (1 - score) * self.error_scale

    def number(self, score: float | None) -> str:
        """That number with its digits; NO_TEST_SPLIT for None, the score without a test split."""
        return NO_TEST_SPLIT if score is None else f"{self.value(score):.{self.digits}f}"

    def amount(self, score: float) -> str:
        """That number with its unit."""
        return f"{self.number(score)} {self.unit}".rstrip()

    def shown(self, score: float) -> str:
        """Name, number and unit of a score."""
        return f"{self.name} {self.amount(score)}"

    def shown_gain(self, gain: float) -> str:
        """A difference of scores in the metric's unit, with its name."""
        number = f"{gain * (self.error_scale or 1):.3g}"
        return " ".join(filter(None, (number, self.unit, self.name)))

    def shown_range(self, low: float, high: float, between: str = " to ") -> str:
        """An interval of scores from its smallest number to its largest, with one digit fewer."""
        smallest, largest = sorted((self.value(low), self.value(high)))
        return f"{smallest:.{self.digits - 1}f}{between}{largest:.{self.digits - 1}f}"

    @property
    def is_error(self) -> bool:
        """Whether people read an error, of which less is better."""
        return self.error_scale is not None

    @property
    def untested(self) -> str:
        """Message about a missing test split."""
        expected = f"a {'higher' if self.is_error else 'lower'} {self.name}"
        return f"{NO_TEST_SPLIT}: nothing was scored on test; validation chose, so expect {expected} on new data"
