"""YOLO labels: a text file for each picture, a line `class cx cy w h` for each box, as shares of the picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from whc.config import load_yaml
from whc.errors import DataError, UsageError, problem
from whc.tasks.detection.annotations import NO_SHARES, Annotations, Box, ClassKey, Picture, read_text

SUFFIX = ".txt"
NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "obj.names", "classes.txt")
MAX_BYTES = 4 << 20
LINE = "must be class cx cy w h"

_MIN_FIELDS = 5
_MIN_POLYGON_FIELDS = 7  # a class and three points


def read(files: Mapping[str, Path], shown: Mapping[str, str], name_files: Iterable[Path]) -> Annotations:
    """Boxes of pictures from their label files.

    Fields after the fifth are ignored, as some write a confidence there. A line of a class and three points or more is
    a polygon: its box is taken, and a note says so.

    Args:
        files: the label file of each picture.
        shown: the name of that file in messages.
        name_files: where names of classes may be; the first is taken that names some.

    Raises:
        DataError: a file is no text, or names classes twice.
    """
    result = Annotations(classes=_class_names(name_files))
    polygons = 0
    for name, path in files.items():
        boxes = []
        for number, line in enumerate(read_text(path, MAX_BYTES).splitlines(), 1):
            fields = line.split()
            if fields:
                boxes.append(_box(fields, f"{shown[name]} line {number}"))
                polygons += _is_polygon(fields)
        result.pictures[name] = Picture(boxes)
    if polygons:
        result.notes.append(f"lines that are polygons, of which the box around all points was taken: {polygons}")
    return result


def looks_like_labels(path: Path) -> bool:
    """Whether the first line of a text file is five numbers or more."""
    try:
        with path.open("rb") as file:
            lines = file.read(4096).decode("utf-8-sig", errors="replace").split("\n")
    except OSError:
        return False
    fields = next((line.split() for line in lines if line.strip()), [])
    return len(fields) >= _MIN_FIELDS and all(_number(text) is not None for text in fields[:_MIN_FIELDS])


def _box(fields: list[str], place: str) -> Box:
    numbers = [_number(text) for text in fields]
    class_id, values = numbers[0], [number for number in numbers[1:] if number is not None]
    if len(fields) < _MIN_FIELDS or None in numbers[:_MIN_FIELDS]:
        return Box(place, -1, NO_SHARES, f"{LINE}, got {' '.join(fields)[:60]!r}")
    if class_id is None or not math.isfinite(class_id) or class_id != math.floor(class_id):
        return Box(place, -1, NO_SHARES, f"must begin with the number of a class, got {fields[0][:20]!r}")
    if _is_polygon(fields) and len(values) == len(fields) - 1:
        (left, right), (top, bottom) = ((min(side), max(side)) for side in (values[0::2], values[1::2]))
        return Box(place, int(class_id), ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top))
    cx, cy, w, h = values[:4]
    return Box(place, int(class_id), (cx, cy, w, h))


def _is_polygon(fields: list[str]) -> bool:
    return len(fields) >= _MIN_POLYGON_FIELDS and len(fields) % 2 == 1


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _class_names(files: Iterable[Path]) -> Mapping[ClassKey, str] | None:
    for path in files:
        names = _names_in_yaml(path) if path.suffix in (".yaml", ".yml") else _names_in_lines(path)
        if names:
            twice = next((name for name in names.values() if list(names.values()).count(name) > 1), None)
            if twice is not None:
                raise DataError(problem(f"{path}: names", "must be different", twice, "rename one of them"))
            return names
    return None


def _names_in_lines(path: Path) -> dict[ClassKey, str]:
    lines = [line.strip() for line in read_text(path, MAX_BYTES).splitlines()]
    return dict(enumerate(line for line in lines if line))


def _names_in_yaml(path: Path) -> dict[ClassKey, str]:
    """`names` of a `data.yaml`, a list or a map from numbers; nothing where it has none."""
    try:
        names = load_yaml(path).get("names")
    except UsageError as error:
        raise DataError(str(error).splitlines()[0]) from error
    if names is None:
        return {}
    if isinstance(names, list):
        names = dict(enumerate(names))
    is_map = isinstance(names, dict) and all(isinstance(key, int) and key >= 0 for key in names)
    if not is_map or not all(type(name) in (str, int) for name in names.values()):
        rule = "must be a list of names, or a map from class numbers to names"
        raise DataError(problem(f"{path}: names", rule, names, "write names: ['yes', 'no']"))
    return {key: " ".join(str(names[key]).split()) for key in sorted(names)}
