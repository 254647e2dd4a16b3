"""What the outputs of a model say: all that a device needs of a task.

Each task has a module `answers` that defines `ANSWERS`, a subclass of `Answers`, from which the task itself inherits. A
bundle carries these modules without the rest of the task, so they import numpy alone, and nothing that trains or reads
configurations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from whc.tasks.showing import Reading

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

    @abstractmethod
    def reading(self, output: Outputs) -> Reading:
        """One output as it is drawn on its picture."""
