"""What the outputs of a model say: all that a device needs of a task.

Each task has a module `answers` that defines `ANSWERS`, a subclass of `Answers`, from which the task itself inherits. A
bundle carries these modules without the rest of the task, so they import numpy alone, and nothing that trains or reads
configurations.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from whc.tasks.showing import Reading
from whc.tasks.smoothing import Smoothing, Votes

Outputs = NDArray[np.floating]


@dataclass(frozen=True)
class Answers(ABC):
    """The answers of a task with its labels (empty if the task has none); `config` has its parameters as attributes."""

    labels: tuple[str, ...]
    config: Any

    text_columns: ClassVar[tuple[str, ...]] = ()
    """Columns of text in any of the tables; the others are of numbers."""

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one exported output, without the batch."""

    @abstractmethod
    def check_outputs(self, outputs: Outputs) -> str:
        """The error in M outputs of the right shape, as `rule, got value`; empty if all are valid."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Columns of a table of answers."""

    @abstractmethod
    def cells(self, output: Outputs) -> tuple[str, ...]:
        """One output as a row of that table."""

    def table_rows(self, output: Outputs) -> Sequence[tuple[str, ...]]:
        """One output as rows of that table, at least one."""
        return (self.cells(output),)

    @property
    def picture_columns(self) -> tuple[str, ...]:
        """Columns of a table with one row for each picture."""
        return self.columns

    def picture_cells(self, output: Outputs) -> tuple[str, ...]:
        """One output as a row of that table."""
        return self.cells(output)

    @property
    def frame_columns(self) -> tuple[str, ...]:
        """Columns of a table of a stream's frames."""
        return self.columns

    def frame_cells(self, output: Outputs) -> tuple[str, ...]:
        """One output as a row of that table."""
        return self.cells(output)

    def frame_values(self, output: Outputs) -> dict[str, Any]:
        """One output as JSON values, by column of that table."""
        cells = zip(self.frame_columns, self.frame_cells(output), strict=True)
        return {name: cell if name in self.text_columns else json.loads(cell) for name, cell in cells}

    @abstractmethod
    def reading(self, output: Outputs) -> Reading:
        """One output as it is drawn on its picture."""

    # Decisions over time (`whc.tasks.smoothing`); a task that measures, and decides nothing, has none.

    @property
    def smoothing(self) -> Smoothing:
        """How decisions are smoothed; with the default parameters where the file holds none."""
        return getattr(self.config, "smoothing", None) or Smoothing()

    def votes(self, output: Outputs, hysteresis: float, earlier: Votes) -> Votes:
        """The votes of one output, after those of the frame before (() if there was none)."""
        del output, hysteresis, earlier
        return ()

    def state_name(self, state: Votes) -> str:
        """A state in words."""
        del state
        return ""

    def ongoing(self, state: Votes) -> tuple[str, ...]:
        """The labels that hold in a state: each of their beginnings and ends is an event."""
        del state
        return ()

    def reading_in(self, state: Votes, output: Outputs) -> Reading:
        """As `reading`, but with the title of a state."""
        del state
        return self.reading(output)
