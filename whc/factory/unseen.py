"""Which rows of a data set show what another model was trained on."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from whc.data.dataset import Table
from whc.factory.scoring import LabelledRows


def trained_on(rows: LabelledRows, training: Table) -> NDArray[np.bool_]:
    """Whether the picture or the person of each row (N,) is among the training rows of a data set.

    Pictures are the same if their files have the same bytes. A row without a person has its clip's name instead.
    """
    is_training = (training.rows["split"] == "train").to_numpy()
    numbers = np.flatnonzero(is_training)
    pictures, people = set(_digests(training.encoded, numbers)), set(training.people(numbers)) - {None}
    ours = rows.corpus.row_numbers
    return np.array(
        [
            picture in pictures or person in people
            for picture, person in zip(_digests(rows.table.encoded, ours), rows.table.people(ours), strict=True)
        ],
        bool,
    )


def _digests(encoded: pa.ChunkedArray, numbers: NDArray[np.int64]) -> list[bytes]:
    return [hashlib.sha256(scalar.as_py() or b"").digest() for scalar in encoded.take(pa.array(numbers))]
