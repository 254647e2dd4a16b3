"""What a page is made of, besides figures: text, facts, tables, pictures, and what holds other parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol


class Part(Protocol):
    """A part of a page; `kind` is the name of its macro in templates/parts.html.j2."""

    kind: ClassVar[str]


@dataclass(frozen=True)
class Text:
    """A paragraph; `is_missing` marks a text that stands in place of something that could not be shown."""

    text: str
    is_missing: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Link:
    """A link to a file beside the page, by its relative path."""

    text: str
    path: str
    kind: ClassVar[str] = "link"


@dataclass(frozen=True)
class Facts:
    """Names with their values; a value may be a link."""

    values: Mapping[str, str | Link]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Listing:
    """Lines that a reader copies, such as commands."""

    lines: Sequence[str]
    kind: ClassVar[str] = "listing"


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers are aligned to the right."""

    title: str
    is_number: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell; `order` is the number by which rows are sorted, None where it is the text itself."""

    text: str
    order: float | None = None


@dataclass(frozen=True)
class Bar:
    """A cell with a number and a bar of a share 0..1 behind it."""

    text: str
    share: float


@dataclass(frozen=True)
class Table:
    """A table.

    `can_sort`: a click on a column's title sorts the rows, and a field above them keeps those that hold its words.
    `trial_ids` names the trial of each row; a click on such a row shows the trial's curve. Empty: rows are no trials.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Cell | Bar]]
    can_sort: bool = False
    trial_ids: Sequence[str] = ()
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Picture:
    """A picture with its words; `source` is a data URI (`whc.pages.thumbnails`), empty where it cannot be shown."""

    source: str
    words: str


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side; `is_wide`: each has a line of its own, and scrolls where the window is narrow."""

    items: Sequence[Picture]
    is_wide: bool = False
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class CurvePanel:
    """The place of the curve of the trial that was clicked; before the first click it shows that of the trial `first`.

    `curves` holds of each trial its words and its points: epochs and values. `words` stand in place of a curve.
    """

    words: str
    value_title: str
    first: str
    curves: Mapping[str, tuple[str, Sequence[tuple[float, float]]]]
    kind: ClassVar[str] = "curve_panel"


@dataclass(frozen=True)
class SideBySide:
    """Parts beside each other, below each other where the window is narrow."""

    parts: Sequence[Part]
    kind: ClassVar[str] = "side_by_side"


@dataclass(frozen=True)
class Fold:
    """Parts that open with a click on the title."""

    title: str
    parts: Sequence[Part] = field(default_factory=list)
    is_open: bool = False
    kind: ClassVar[str] = "fold"
