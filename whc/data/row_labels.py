"""The labels of a data set's rows, and the methods of a task that read them."""

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

    `targets` (N, ...) are what a network learns; `labels` names their classes or labels, if there are any. `strata`
    (N,) is the kind of each row, an index of `strata_names`: splits and resampling keep the kinds in balance.
    """

    targets: NDArray[Any]
    labels: tuple[str, ...]
    strata: NDArray[np.int64]
    strata_names: tuple[str, ...]


class LabelSource(Protocol):
    """A task (`whc.tasks.Task`), with the methods that reading needs."""

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Columns of labels that a labelled data set must have, without an empty value."""

    @property
    def needs_every_stratum(self) -> bool:
        """Whether every split must have rows of every stratum."""

    @property
    def decode_scale(self) -> float:
        """How many times the input's height and width training pictures have, so that they can be enlarged."""

    def label_readers(self) -> Mapping[str, tuple[str, Reader]]:
        """Columns of a data set that hold labels, each with its type in words and its reader."""

    def read_rows(self, rows: pd.DataFrame, metadata: Mapping[str, str], source: str) -> RowLabels:
        """Labels of the rows of a data set; raises DataError if labels are missing or contradict each other."""
