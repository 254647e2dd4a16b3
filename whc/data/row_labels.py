"""What a task reads from the rows of a data set, and what `whc.data` asks of a task for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from whc.data.parquet import Reader


@dataclass(frozen=True)
class RowLabels:
    """Labels of N rows as numbers.

    `targets` (N, ...) are what a network learns; `labels` name what they count, if they count anything. `strata` (N,)
    is the kind of each row, an index of `strata_names`: splits and resampling keep the kinds in balance.
    """

    targets: NDArray[Any]
    labels: tuple[str, ...]
    strata: NDArray[np.int64]
    strata_names: tuple[str, ...]


class LabelSource(Protocol):
    """A task (`whc.tasks.Task`), as reading needs it."""

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Columns of labels that a labelled data set must have, without an empty value."""

    @property
    def needs_every_stratum(self) -> bool:
        """Whether every split must have rows of every stratum."""

    def label_readers(self) -> Mapping[str, tuple[str, Reader]]:
        """Columns of a data set that hold labels: what each must be, in words, and how it is read."""

    def read_rows(self, rows: pd.DataFrame, metadata: Mapping[str, str], source: str) -> RowLabels:
        """What the rows of a data set say; raises DataError where labels are missing or contradict each other."""
