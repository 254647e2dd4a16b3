"""The settings of `whc data build`, and the files that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from whc.config import Settings
from whc.data.splitting import Shares
from whc.errors import UsageError, problem
from whc.pages.thumbnails import Stroke
from whc.records import CropRule

Kind = Literal["images", "videos"]

Reason = Literal[
    "unreadable",
    "short",
    "nothing found",
    "copy",
    "conflict",
    "link",
    "hidden",
    "no labels",
    "no picture",
    "bad box",
    "crowd",
    "other",
]


class BuildConfig(Settings):
    """What to build, and how.

    `folder` holds the pictures or clips. With `csv`, that file names the pictures with their labels. Without it the
    task says how the folder must be laid out. If `split` is not None, all files are split again. `group` is read by
    `whc.data.splitting.grouping`; None puts each file into a group of its own. `labels` gives the order of labels;
    None sorts them. `fps` (frames a second) and `min_frames` (of a clip) are None for images. Where pictures have label
    files, `label_path` is their folder or file, `classes` are those to keep, in their new order, and `lists` are text
    files that name the pictures of a split each. `crop` is how crops are cut around what a detector finds in clips;
    None keeps complete frames.
    """

    kind: Kind
    folder: Path
    csv: Path | None = None
    split: Shares | None = None
    group: str | None = None
    labels: tuple[str, ...] | None = None
    label_path: Path | None = None
    classes: tuple[str, ...] | None = None
    lists: tuple[Path, ...] = ()
    fps: float | None = Field(None, gt=0, le=1000)
    min_frames: int | None = Field(None, ge=1)
    crop: CropRule | None = None
    seed: int = Field(0, ge=0)

    def refuse_label_files(self) -> None:
        """Refuse options that are for pictures with label files.

        Raises:
            UsageError: one of them is given.
        """
        labels = (self.label_path,) if self.label_path else ()
        for option, values in {"--labels": labels, "--classes": self.classes, "--lists": self.lists}.items():
            if values:
                rule = "must be left out, as this task's labels are not in files beside the pictures"
                next_step = "leave it out, or name another task with --task"
                raise UsageError(problem(option, rule, ",".join(map(str, values)), next_step))


class SkippedFile(BaseModel):
    """What gives no rows, a file or a folder with all its files, or a label that is not used, and the reason.

    `name` is the path below the given folder, for a label with its place in the file.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    reason: Reason
    detail: str


@dataclass(frozen=True)
class SourceFile:
    """A picture or clip; `name` is its path below the given folder, with `/` between the parts.

    `inner` is the part of the name that `--group` looks at; `split` is None while the files are not split. `stratum`
    names its kind (`RowLabels`), `cells` are its labels by column. Files of one `group` are in the same split; None if
    the source has no groups. `label_size` is
    the width and height in pixels of the picture for which its labels were made, None if they do not say.
    """

    path: Path
    name: str
    split: str | None
    inner: str
    stratum: str
    cells: Mapping[str, object]
    group: str | None = None
    label_size: tuple[int, int] | None = None


@dataclass
class SourceScan:
    """Files to read in order of their names, and files left out.

    `labels` and `strata_names` are as in `RowLabels`; `columns` are those of labels, with their types; `metadata` are
    added to the data set's. `notes` are further messages for the user.
    """

    sources: list[SourceFile] = field(default_factory=list)
    left_out: list[SkippedFile] = field(default_factory=list)
    labels: tuple[str, ...] = ()
    strata_names: tuple[str, ...] = ()
    columns: Mapping[str, pa.DataType] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, source: SourceFile, reason: Reason, detail: str) -> None:
        """Record that a file gives no rows."""
        self.left_out.append(SkippedFile(name=source.name, reason=reason, detail=detail))


class FileSource(Protocol):
    """A task (`whc.tasks.Task`), with the methods that building needs."""

    @property
    def needs_every_stratum(self) -> bool:
        """Whether every split must have rows of every stratum."""

    def label_strokes(self, cells: Mapping[str, Any]) -> Sequence[Stroke]:
        """What is drawn over a picture to show its labels, the `cells` of its file."""

    def scan_files(self, config: BuildConfig) -> SourceScan:
        """The files to read with their labels; raises DataError or UsageError if they are wrong."""
