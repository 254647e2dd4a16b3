"""Angles in the rows of a data set: yaw, pitch and roll, or pan and tilt, in degrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whc.errors import DataError, problem
from whc.tasks.head_pose import angles

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

EULER_COLUMNS, PAN_TILT_COLUMNS = ("yaw", "pitch", "roll"), ("pan", "tilt")
ANGLE_COLUMNS = (*EULER_COLUMNS, *PAN_TILT_COLUMNS)
MAX_DEGREES = 180
MAX_RADIANS = 3.2  # pi, rounded up
MIN_ROWS_FOR_RADIANS = 10  # in fewer rows heads may all look ahead


def read(rows: pd.DataFrame, source: str) -> NDArray[np.float32]:
    """Degrees (N, 3) of labelled rows, NaN for an unknown angle.

    Raises:
        DataError: the file or a row has no angles, or they are not in degrees.
    """
    row_degrees = degrees(rows, source)
    if np.isnan(row_degrees).all():
        rule = f"must have the columns {', '.join(EULER_COLUMNS)}, or {' and '.join(PAN_TILT_COLUMNS)}"
        raise DataError(problem(source, rule, "no angle", "add them, or name another task"))
    empty = np.flatnonzero(np.isnan(row_degrees).all(1))
    if len(empty):
        rule = "must have yaw, pitch or roll, or pan and tilt"
        next_step = f"fill or drop this and {len(empty) - 1} other rows" if len(empty) > 1 else "fill or drop it"
        raise DataError(problem(f"{source}: row {empty[0]}", rule, "none of them", next_step))
    return row_degrees


def degrees(rows: pd.DataFrame, source: str) -> NDArray[np.float32]:
    """Degrees (N, 3) of rows that need not have labels; pan and tilt count where there is no yaw, pitch or roll.

    Raises:
        DataError: the values cannot be degrees.
    """
    values: dict[str, NDArray[np.float64]] = {
        name: rows[name].to_numpy(np.float64, na_value=np.nan) for name in ANGLE_COLUMNS
    }
    for name, column in values.items():
        wrong = np.flatnonzero(np.abs(column) > MAX_DEGREES)
        if len(wrong):
            rule = f"must be within {MAX_DEGREES} degrees"
            where = f"{source}: row {wrong[0]}: {name}"
            raise DataError(problem(where, rule, float(column[wrong[0]]), "write it within -180 to 180"))
    _refuse_radians(values, source)
    euler = np.stack([values[name] for name in EULER_COLUMNS], 1)
    pan_tilt = np.stack([values[name] for name in PAN_TILT_COLUMNS], 1)
    incomplete = np.flatnonzero(np.isnan(pan_tilt).sum(1) == 1)
    if len(incomplete):
        raise DataError(
            problem(f"{source}: row {incomplete[0]}", "must have both pan and tilt", "one of them", "add it")
        )
    use_pan = np.isnan(euler).all(1, keepdims=True)
    return np.where(use_pan, angles.from_pan_tilt(pan_tilt), euler).astype(np.float32)


def _refuse_radians(values: dict[str, NDArray[np.float64]], source: str) -> None:
    sizes = np.abs(np.concatenate(list(values.values())))
    sizes = sizes[~np.isnan(sizes)]
    if len(sizes) >= MIN_ROWS_FOR_RADIANS * len(EULER_COLUMNS) and sizes.max() < MAX_RADIANS:
        rule = f"must be in degrees, but none is beyond {MAX_RADIANS}, as in radians"
        next_step = "multiply them by 57.2958; or add a row beyond it, if they are degrees"
        raise DataError(problem(f"{source}: {', '.join(ANGLE_COLUMNS)}", rule, f"at most {sizes.max():.3f}", next_step))


def parse_text(rows: pd.DataFrame, source: str) -> pa.Table:
    """Columns of numbers from text; an empty text is an unknown angle.

    Raises:
        DataError: a text is no number; the message names the line.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in rows:
        numbers: list[float | None] = []
        for line, text in enumerate(rows[name], 2):
            try:
                numbers.append(float(text) if text.strip() else None)
            except ValueError as error:
                where = f"{source}: line {line}: {name}"
                raise DataError(problem(where, "must be a number of degrees", text, "mend the row")) from error
        columns[str(name)] = pa.array(numbers, pa.float64())
    return pa.table(columns)
