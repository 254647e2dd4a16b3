"""The Parquet files of a data set: one file, or a folder of shards."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

from whc.data.split_names import split_named
from whc.errors import DataError, problem

# Such as `0003`, `data_7`, `train-00000-of-00002`, and the `part-00000-...` that Spark writes.
_NUMBERED_NAME = re.compile(r"(part-\d+.*|(.*[-_.])?\d+)")
_COUNTED_NAME = re.compile(r"(?P<name>.*)-\d+-of-(?P<count>\d+)")


def split_in_name(file: Path) -> str | None:
    """The split at the beginning of a file's name, such as val for `validation-00000-of-00002.parquet`."""
    return split_named(re.split(r"[-_.]", file.name, maxsplit=1)[0])


def is_folder_of_shards(path: Path) -> bool:
    """Whether a path is a folder whose Parquet files belong together, according to their names."""
    if not path.is_dir():
        return False
    files = _parquet_files(path)
    return bool(files) and all(split_in_name(file) or _NUMBERED_NAME.fullmatch(file.stem) for file in files)


def data_inside(folder: Path) -> Path | None:
    """The first data set in a folder, None if there is none."""
    subfolders = (inner for inner in sorted(folder.iterdir()) if is_folder_of_shards(inner))
    return next(chain(_parquet_files(folder), subfolders), None)


def data_files(path: Path) -> list[Path]:
    """The files of a data set, in order of their names.

    Raises:
        DataError: nothing exists at the path, the folder does not hold shards, or a shard is missing.
    """
    if is_folder_of_shards(path):
        files = _parquet_files(path)
        _check_complete(files)
        return files
    if path.is_dir():
        inside = data_inside(path)
        advice = f"give {inside}" if inside else f"build a data set from it with `whc data build --images {path}`"
        rule = "must be a Parquet file, or a folder of shards such as train-00000-of-00002.parquet"
        raise DataError(f"{path}: {rule}, got another folder; {advice}")
    if not path.is_file():
        raise DataError(
            f"{path}: must be a Parquet file, got nothing there; check the path, or render one with `whc data synth`"
        )
    return [path]


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if path.is_file() and not path.name.startswith("."))


def _check_complete(files: list[Path]) -> None:
    """Refuse shards that were copied in part: they would silently give a smaller data set."""
    complete_names = [match for file in files if (match := _COUNTED_NAME.fullmatch(file.stem))]
    for name, count in {(match["name"], match["count"]) for match in complete_names}:
        present = sum((match["name"], match["count"]) == (name, count) for match in complete_names)
        if present != int(count):
            rule = f"must hold all {int(count)} shards of {name!r}"
            raise DataError(problem(str(files[0].parent), rule, present, "copy the missing ones"))
