"""Pictures with their labels in a CSV file, one row for each picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from whc.data.row_labels import LabelSource
from whc.data.sources import BuildConfig, SourceFile, SourceScan
from whc.data.split_names import split_named
from whc.errors import DataError, problem

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MAX_BYTES = 256 << 20
PICTURE_COLUMN = "image"


class TextLabels(LabelSource, Protocol):
    """A task (`whc.tasks.Task`), with the methods that reading a CSV needs."""

    def parse_text(
        self, rows: pd.DataFrame, labels: Sequence[str] | None, source: str
    ) -> tuple[pa.Table, Mapping[str, str]]:
        """Label columns of a data set, converted from text, and the metadata that they need."""


def read_header(csv: Path) -> tuple[str, ...]:
    """Names of the columns.

    Raises:
        DataError: the file cannot be read.
    """
    return tuple(_read(csv, rows=0).columns)


def scan(config: BuildConfig, task: TextLabels) -> SourceScan:
    """The pictures that a CSV names.

    Column `image` is the path of a picture below the folder. `split` is its split; it is not used with `--split`. All
    pictures of one `person_id` are in the same split; this column may be missing. Labels are in the task's columns.

    Raises:
        DataError: the file cannot be read, lacks a column or a picture, or its labels are wrong.
    """
    config.refuse_label_files()
    csv = config.csv
    assert csv is not None  # noqa: S101 (the caller checks it)
    rows = _read(csv)
    _check_pictures(rows, csv)
    names = [_name(text, line, csv) for line, text in enumerate(rows[PICTURE_COLUMN], 2)]
    _check_distinct(rows, csv)
    table, metadata = _label_table(rows, config, task, csv)
    frame = table.to_pandas()
    for name in task.label_readers().keys() - set(frame):
        frame[name] = None
    splits = _splits(rows, config, csv)
    labelled = task.read_rows(frame.assign(split=[split or "" for split in splits]), metadata, str(csv))
    people = rows["person_id"] if "person_id" in rows else [""] * len(rows)
    cells = table.to_pylist()
    sources = [
        SourceFile(
            path=config.folder / name,
            name=name,
            split=split,
            inner=f"/{name}",
            stratum=labelled.strata_names[stratum],
            cells=row,
            group=person or None,
        )
        for name, split, stratum, row, person in zip(names, splits, labelled.strata, cells, people, strict=True)
    ]
    return SourceScan(
        sources=sorted(sources, key=lambda source: source.name),
        labels=labelled.labels,
        strata_names=labelled.strata_names,
        columns={field.name: field.type for field in table.schema},
        metadata=metadata,
    )


def _check_pictures(rows: pd.DataFrame, csv: Path) -> None:
    if PICTURE_COLUMN not in rows:
        raise DataError(problem(str(csv), f"must have a column {PICTURE_COLUMN}", list(rows), "name it so"))
    if rows.empty:
        raise DataError(f"{csv}: must have rows, got none; add a row for each picture")


def _check_distinct(rows: pd.DataFrame, csv: Path) -> None:
    repeated = rows[PICTURE_COLUMN][rows[PICTURE_COLUMN].duplicated()]
    if len(repeated):
        raise DataError(problem(f"{csv}: {PICTURE_COLUMN}", "must name a picture once", repeated.iloc[0], "merge them"))


def _label_table(
    rows: pd.DataFrame, config: BuildConfig, task: TextLabels, csv: Path
) -> tuple[pa.Table, Mapping[str, str]]:
    """Label columns of all rows, and their metadata."""
    text_columns = [name for name in rows if name in task.label_readers()]
    table, metadata = task.parse_text(rows[text_columns], config.labels, str(csv))
    lacking = [name for name in task.required_columns if name not in table.column_names]
    if lacking:
        raise DataError(problem(str(csv), f"must have the columns {', '.join(lacking)}", list(rows), "add them"))
    return table, metadata


def _read(csv: Path, rows: int | None = None) -> pd.DataFrame:
    import pandas as pd

    try:
        if csv.stat().st_size > MAX_BYTES:
            raise DataError(problem(str(csv), f"must have at most {MAX_BYTES} bytes", csv.stat().st_size, "split it"))
        return pd.read_csv(csv, dtype=str, keep_default_na=False, encoding="utf-8-sig", nrows=rows)
    except OSError as error:
        raise DataError(f"{csv}: must be a readable CSV file, got: {error.strerror}; check the path") from error
    except (ValueError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{csv}: must be a CSV file, got: {reason}; write one row a picture") from error


def _name(text: str, line: int, csv: Path) -> str:
    """The path of a picture below the folder, with `/` between its parts."""
    path = PurePosixPath(text.replace("\\", "/"))
    if not text or path.is_absolute() or ".." in path.parts:
        rule = "must be the path of a picture below the folder"
        raise DataError(problem(f"{csv}: line {line}: {PICTURE_COLUMN}", rule, text, "write it relative to the folder"))
    return path.as_posix()


def _splits(rows: pd.DataFrame, config: BuildConfig, csv: Path) -> list[str | None]:
    if config.split is not None:
        return [None] * len(rows)
    if "split" not in rows:
        raise DataError(problem(str(csv), "must have a column split", list(rows), "add it, or --split 70/15/15"))
    splits = [split_named(name) for name in rows["split"]]
    for line, (name, split) in enumerate(zip(rows["split"], splits, strict=True), 2):
        if split is None:
            next_step = "write train, val or test, or split anew with --split 70/15/15"
            raise DataError(problem(f"{csv}: line {line}: split", "must be one of train, val, test", name, next_step))
    return splits
