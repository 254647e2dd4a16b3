"""COCO labels: JSON files of pictures, categories, and annotations with boxes x y w h in pixels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from whc.data.split_names import split_named
from whc.errors import DataError, problem, shown
from whc.tasks.detection.annotations import (
    NO_SHARES,
    Annotations,
    Box,
    ClassKey,
    Picture,
    Shares,
    from_corners,
    read_bytes,
    size_of,
)
from whc.tasks.detection.listing import folder_split

SUFFIX = ".json"
ROBOFLOW_NAME = "_annotations.coco.json"
ANNOTATIONS_FOLDER = "annotations"
MAX_BYTES = 1 << 30
MAX_SIDE = 1_000_000  # pixels of a picture

_RULE = "must be a JSON file of COCO"
_KEYS = (b'"images"', b'"categories"', b'"annotations"')
_MIN_POLYGON_VALUES = 6


class _Category(BaseModel):
    id: int
    name: str


class _Image(BaseModel):
    id: int | str
    file_name: str
    width: int | None = Field(None, ge=0, le=MAX_SIDE)
    height: int | None = Field(None, ge=0, le=MAX_SIDE)


class _Annotation(BaseModel):
    image_id: int | str
    category_id: int
    id: int | str | None = None
    bbox: Any = None
    segmentation: Any = None
    iscrowd: int | None = 0


class _File(BaseModel):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


@dataclass(frozen=True)
class _Source:
    """A file of labels: its content, its name in messages, and its split where its name or folder tells one."""

    path: Path
    name: str
    split: str | None
    content: _File


def json_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """The files of labels among those below a folder: Roboflow's, or else those in `annotations`.

    Of the official ones, which also hold captions and key points, those of `instances` are taken alone.
    """
    paths = [PurePosixPath(name) for name in names if name.lower().endswith(SUFFIX)]
    exported = [path for path in paths if path.name == ROBOFLOW_NAME]
    inside = [path for path in paths if path.parent.name == ANNOTATIONS_FOLDER and len(path.parts) == 2]
    instances = [path for path in inside if path.name.startswith("instances")]
    return [folder / path for path in exported or instances or inside]


def read(paths: Sequence[Path], folder: Path, pictures: Sequence[str]) -> Annotations:
    """Boxes of the pictures that files of labels name.

    A name is a path below the file's own folder, the pictures' folder, its `images`, or one of their folders of the
    file's split. Crowds are left out. Where an annotation has no box, that of its polygons is taken.

    Args:
        paths: files of labels.
        folder: of the pictures.
        pictures: names of those that are there, below the folder.

    Raises:
        DataError: a file cannot be read, the files differ in their categories, or a picture is named twice or lies
            outside the folder.
    """
    sources = [_read(path, folder) for path in paths]
    result, is_there = Annotations(classes=_categories(sources)), set(pictures)
    homes: dict[str, str] = {}
    for source in sources:
        boxes_of = defaultdict(list)
        for annotation in source.content.annotations:
            boxes_of[annotation.image_id].append(annotation)
        _check_ids(source, boxes_of)
        roots = _roots(source, folder, pictures)
        for image in source.content.images:
            name = _found(image.file_name, roots, is_there, source)
            where = f"{source.name} image {_shown(image.id)}"
            if name is None:
                result.leave_out(where, "no picture", f"{shown(image.file_name)} is not there")
            elif name in homes:
                raise DataError(problem(f"{folder}/{name}", "must be named once", [homes[name], where], "drop one"))
            else:
                homes[name] = where
                result.pictures[name] = _picture(image, boxes_of[image.id], source, folder / name, result)
    return result


def _read(path: Path, folder: Path) -> _Source:
    try:
        content = _File.model_validate_json(read_bytes(path, MAX_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, (path, *first["loc"]))) if first["loc"] else str(path)
        raise DataError(f"{where}: {_RULE}, got: {first['msg']}; give a file of boxes") from error
    numbers = [number for annotation in content.annotations for number in _numbers(annotation.bbox)]
    if numbers and max(numbers) <= 1:
        rule = "must be x y w h in pixels"
        raise DataError(problem(f"{path}: bbox", rule, f"at most {max(numbers)}", "multiply by width and height"))
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
    return _Source(path, name, split_of(path), content)


def looks_like_labels(path: Path) -> bool:
    """Whether a file begins as COCO's do."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return False
    return any(key in head for key in _KEYS)


def split_of(path: Path) -> str | None:
    """The split of a file: by its folder, as Roboflow has them, or by a word of its name (instances_train2017)."""
    words = [path.parent.name, *re.split(r"[^A-Za-z]+", path.stem)]
    return next((split for word in words if (split := split_named(word))), None)


def _categories(sources: Sequence[_Source]) -> Mapping[ClassKey, str]:
    """Names by id, in order of ids."""
    classes: dict[int, str] = {}
    for source in sources:
        for category in source.content.categories:
            name = " ".join(category.name.split())
            if classes.setdefault(category.id, name) != name:
                rule = f"category {category.id} must be called as elsewhere, {classes[category.id]!r}"
                raise DataError(problem(f"{source.path}: categories", rule, name, "give files of one data set"))
    names = list(classes.values())
    twice = next((name for name in names if names.count(name) > 1 or not name), None)
    if twice is not None:
        rule = "must have different names"
        raise DataError(problem(f"{sources[0].path}: categories", rule, twice, "rename one of them"))
    return {key: classes[key] for key in sorted(classes)}


def _check_ids(source: _Source, boxes_of: Mapping[int | str, Sequence[_Annotation]]) -> None:
    ids = [image.id for image in source.content.images]
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise DataError(problem(f"{source.path}: images", "must have different ids", twice, "mend the file"))
    unknown = next((one for one in boxes_of if one not in set(ids)), None)
    if unknown is not None:
        rule = "image_id must be one of the images"
        raise DataError(problem(f"{source.path}: annotations", rule, unknown, "mend the file"))


def _roots(source: _Source, folder: Path, pictures: Sequence[str]) -> list[str]:
    """Folders below the pictures' folder in which a file's names may lie, those of its split first; `.` is itself."""
    tops = {"/".join(parts[:depth]) for parts in (name.split("/") for name in pictures) for depth in (1, 2)}
    of_split = [top for top in sorted(tops) if source.split and folder_split(top.rpartition("/")[2]) == source.split]
    own = source.path.parent
    beside = [own.relative_to(folder).as_posix()] if own.is_relative_to(folder) else []
    return list(dict.fromkeys([*beside, *of_split, ".", "images"]))


def _found(file_name: str, roots: Sequence[str], is_there: set[str], source: _Source) -> str | None:
    """The picture of a name, below the folder; None where there is none."""
    path = PurePosixPath(file_name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        rule = "must be the path of a picture below the folder"
        raise DataError(
            problem(f"{source.path}: images: file_name", rule, file_name, "write it relative to the folder")
        )
    return next((name for root in roots if (name := (PurePosixPath(root) / path).as_posix()) in is_there), None)


def _picture(
    image: _Image, annotations: Sequence[_Annotation], source: _Source, path: Path, result: Annotations
) -> Picture:
    size = (image.width, image.height) if image.width and image.height else size_of(path)
    boxes = []
    for number, annotation in enumerate(annotations, 1):
        given = number if annotation.id is None else annotation.id
        of_image = f" of image {_shown(image.id)}" if annotation.id is None else ""
        place = f"{source.name} annotation {_shown(given)}{of_image}"
        if annotation.iscrowd:
            result.leave_out(place, "crowd", "one box around many")
        else:
            boxes.append(_box(annotation, size, place))
    return Picture(boxes, size, source.split)


def _shown(given: int | str) -> str:
    return shown(given) if isinstance(given, str) and not given.isalnum() else str(given)[:80]


def _box(annotation: _Annotation, size: tuple[int, int] | None, place: str) -> Box:
    key = annotation.category_id
    if size is None or min(size) < 1:
        return Box(place, key, NO_SHARES, f"must have the width and height of its picture, got {size}")
    if annotation.bbox is not None and annotation.bbox != []:
        numbers = _numbers(annotation.bbox)
        if len(numbers) != 4:
            return Box(place, key, NO_SHARES, f"must have a bbox of four numbers, got {shown(annotation.bbox)}")
        x, y, w, h = numbers
        return Box(place, key, from_corners(x, y, x + w, y + h, size))
    shares = _around(list(_polygons(annotation.segmentation)), size)
    if shares is None:
        return Box(place, key, NO_SHARES, "must have a bbox, or polygons, got neither")
    return Box(place, key, shares)


def _around(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Shares | None:
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return from_corners(min(xs), min(ys), max(xs), max(ys), size) if xs else None


def _polygons(value: Any) -> Iterator[list[float]]:
    """Lists x y x y ... of a segmentation, which may also be a mask: that gives none."""
    for polygon in value if isinstance(value, list) else []:
        numbers = _numbers(polygon)
        if len(numbers) >= _MIN_POLYGON_VALUES and len(numbers) % 2 == 0:
            yield numbers


def _numbers(value: Any) -> list[float]:
    """Numbers of a list that may be pixels; none where it holds anything else."""
    if not isinstance(value, list) or not all(isinstance(one, int | float) and abs(one) <= MAX_SIDE for one in value):
        return []
    return [float(one) for one in value]
