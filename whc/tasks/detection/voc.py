"""Pascal VOC labels: an XML file for each picture, with corners in pixels that count from 1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from whc.errors import DataError, problem
from whc.tasks.detection.annotations import NO_SHARES, Annotations, Box, Picture, from_corners, read_bytes, size_of

SUFFIX = ".xml"
MAX_BYTES = 4 << 20
MAX_SIDE = 1_000_000  # pixels of a picture

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _DeclarationError(Exception):
    """XML declares a document type, with which a small file can stand for a huge one or for other files."""


class _PlainTree(ElementTree.TreeBuilder):
    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Refuse the declaration before anything in it is read, in whatever encoding it is."""
        del public, system
        raise _DeclarationError(name)


def read(files: Mapping[str, Path], shown: Mapping[str, str], folder: Path) -> Annotations:
    """Boxes of pictures from their label files; classes are the names that occur, sorted.

    Objects that are marked as difficult are kept.

    Args:
        files: the label file of each picture.
        shown: the name of that file in messages.
        folder: of the pictures; one is read where its file does not tell its size.

    Raises:
        DataError: a file is no XML of this kind, or declares a document type.
    """
    result = Annotations()
    for name, path in files.items():
        root = _parsed(path)
        size = _size(root) or size_of(folder / name)
        objects = enumerate(root.findall("object"), 1)
        boxes = [_box(element, size, f"{shown[name]} object {number}") for number, element in objects]
        result.pictures[name] = Picture(boxes, size)
    names = {box.key for picture in result.pictures.values() for box in picture.boxes if not box.fault}
    result.classes = {name: str(name) for name in sorted(names, key=str)}
    return result


def looks_like_labels(path: Path) -> bool:
    """Whether a file begins as VOC's do."""
    try:
        with path.open("rb") as file:
            return b"<annotation" in file.read(4096)
    except OSError:
        return False


def _parsed(path: Path) -> ElementTree.Element:
    content = read_bytes(path, MAX_BYTES)
    rule = "must be an XML file of Pascal VOC"
    try:
        parser = ElementTree.XMLParser(target=_PlainTree())  # noqa: S314 (see _PlainTree)
        parser.feed(content)
        root = parser.close()
    except _DeclarationError as error:
        raise DataError(problem(str(path), rule, "<!DOCTYPE", "remove the document type declaration")) from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{path}: {rule}, got: {error}; mend or remove it") from error
    if root.tag != "annotation":
        raise DataError(problem(str(path), rule, f"<{root.tag}>", "give the folder of <annotation> files"))
    return root


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Width and height in pixels; None where they are not told."""
    width, height = (_number(root.findtext(f"size/{side}")) for side in ("width", "height"))
    if width is None or height is None or not 1 <= min(width, height) <= max(width, height) <= MAX_SIDE:
        return None
    return int(width), int(height)


def _box(element: ElementTree.Element, size: tuple[int, int] | None, place: str) -> Box:
    name = " ".join((element.findtext("name") or "").split())
    corners = [_number(element.findtext(f"bndbox/{corner}")) for corner in _CORNERS]
    if not name:
        return Box(place, "", NO_SHARES, "must have a name, got none")
    left, top, right, bottom = corners
    if left is None or top is None or right is None or bottom is None:
        return Box(place, name, NO_SHARES, f"must have a bndbox with {', '.join(_CORNERS)}, got {corners}")
    if size is None:
        return Box(place, name, NO_SHARES, "must have the size of its picture, got none")
    # The first pixel is 1, and the last one belongs to the box.
    return Box(place, name, from_corners(left - 1, top - 1, right, bottom, size))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
