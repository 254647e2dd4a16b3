"""What label files of any format say: the boxes of each picture, and the names of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from whc.data.pictures import read_picture
from whc.data.preprocess import Unreadable
from whc.data.sources import Reason, SkippedFile
from whc.errors import DataError

ClassKey = int | str
"""What label files call a class: a number in YOLO and COCO, a name in VOC."""

Shares = tuple[float, float, float, float]
_NAN = float("nan")
NO_SHARES: Shares = (_NAN, _NAN, _NAN, _NAN)

_SLACK_PIXELS = 2


class Box(NamedTuple):
    """A box, cx cy w h as shares of the picture; `place` says where it was read, `fault` what is wrong there."""

    place: str
    key: ClassKey
    shares: Shares
    fault: str = ""


@dataclass(frozen=True)
class Picture:
    """Boxes of a picture; `size` is the width and height in pixels that they were drawn for, where that is told.

    `split` is the one that the label file belongs to, where it tells one.
    """

    boxes: Sequence[Box]
    size: tuple[int, int] | None = None
    split: str | None = None


@dataclass
class Annotations:
    """Pictures by their names below the folder, and names of classes in their order; None where nobody names them.

    `left_out` are labels that are not used; `notes` are what the user should know besides.
    """

    pictures: dict[str, Picture] = field(default_factory=dict)
    classes: Mapping[ClassKey, str] | None = None
    left_out: list[SkippedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, name: str, reason: Reason, detail: str) -> None:
        """Record that a label or its picture is not used."""
        self.left_out.append(SkippedFile(name=name, reason=reason, detail=detail))


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture in pixels, turned as EXIF says; None where it cannot be read."""
    try:
        height, width = read_picture(path).shape[:2]
    except Unreadable:
        return None
    return width, height


def from_corners(left: float, top: float, right: float, bottom: float, size: tuple[float, float]) -> Shares:
    """Edges in pixels, from 0 at the left and top, to cx cy w h as shares of a picture of this width and height.

    An edge up to two pixels outside is put on the picture's edge: tools count from 0 or from 1, and round.
    """
    width, height = size
    left, right = _snapped(left, width), _snapped(right, width)
    top, bottom = _snapped(top, height), _snapped(bottom, height)
    return (left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height


def _snapped(edge: float, side: float) -> float:
    return min(max(edge, 0.0), side) if -_SLACK_PIXELS <= edge <= side + _SLACK_PIXELS else edge


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """What a label file holds.

    Raises:
        DataError: it cannot be read, or is larger than any label file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise DataError(f"{path}: must be a readable file of labels, got: {error.strerror}; check the path") from error
    if len(content) > max_bytes:
        raise DataError(f"{path}: must have at most {max_bytes} bytes, got more; give the file of labels")
    return content


def read_text(path: Path, max_bytes: int) -> str:
    """As `read_bytes`, as text."""
    try:
        return read_bytes(path, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: must be UTF-8 text, got other bytes; write it again as UTF-8") from error
