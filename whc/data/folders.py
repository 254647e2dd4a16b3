"""Which files of a folder are labelled pictures or clips, and what else lies there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from whc.config import Settings
from whc.data.dataset import SPLITS
from whc.data.pictures import is_picture, is_text, is_video, shown
from whc.data.split_names import split_named
from whc.data.splitting import Shares
from whc.errors import DataError, UsageError, problem

Kind = Literal["images", "videos"]

Reason = Literal["unreadable", "short", "copy", "conflict", "link", "hidden", "other"]


class BuildConfig(Settings):
    """What to build, and how.

    `folder` holds split/class/files when `split` is None, else class/files, or split/class/files without one of the
    splits, which are then dealt out again; below a class, folders may nest. `group` is
    what `whc.data.splitting.grouping` reads, None for every file by itself. `labels` are in order of class_id, None for
    the class folders in sorted order. `fps` (frames a second) and `min_frames` (a clip) are None for images.
    """

    kind: Kind
    folder: Path
    split: Shares | None = None
    group: str | None = None
    labels: tuple[str, ...] | None = None
    fps: float | None = Field(None, gt=0, le=1000)
    min_frames: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)


class LeftOut(BaseModel):
    """A file, or a folder with all that is in it, that gives no rows: its name below the folder given, and why."""

    model_config = ConfigDict(frozen=True)

    name: str
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Source:
    """A picture or clip; `name` is its path below the folder given, with `/` between the parts.

    `inner` is the name from the class folder on, `split` None where the splits are still to be dealt out.
    """

    path: Path
    name: str
    split: str | None
    label: str
    inner: str


@dataclass
class Found:
    """What `scan` sees in a folder: files to read in order of their names, labels in order of class_id.

    `notes` say how folders were read as splits, where their names alone do not.
    """

    sources: list[Source] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    labels: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def leave_out(self, source: Source, reason: Reason, detail: str) -> None:
        """Note that a file gives no rows."""
        self.left_out.append(LeftOut(name=source.name, reason=reason, detail=detail))


def scan(config: BuildConfig) -> Found:
    """List a folder; a file whose name tells nothing is told by its first bytes. Links are not followed.

    Raises:
        DataError: the folder cannot be read or is not laid out as it should be, or a class folder is empty or outside
            the label map.
        UsageError: all three splits are there although shares are asked for.
    """
    root, found = config.folder, Found()
    tops = _subfolders(root, root, found)
    splits = _splits(config, tops, found)
    folders = [f"{top}/{label}" for top in splits for label in _subfolders(root / top, root, found)] if splits else tops
    found.labels = _labels(config, {folder.rpartition("/")[2] for folder in folders})
    for folder in folders:
        top, _, _ = folder.rpartition("/")
        _collect(config, folder, splits.get(top), found)
    found.sources.sort(key=lambda source: source.name)
    return found


def _splits(config: BuildConfig, tops: list[str], found: Found) -> dict[str, str | None]:
    """The split of each folder of a split, None where all are dealt out again; empty where these are class folders."""
    root, named = str(config.folder), {top: split for top in tops if (split := split_named(top))}
    lacking = [split for split in SPLITS if split not in named.values()]
    if config.split is None:
        if set(lacking) - {"test"}:
            is_split = "splits again what is there" if named else "splits these when they are the class folders"
            next_step = f"add {' and '.join(lacking[:2])}; or --split 70/15/15 {is_split}"
            raise DataError(problem(root, "must hold the folders train and val, and test to score it", tops, next_step))
        found.left_out += [_other(top, "not train, val or test") for top in tops if top not in named]
        found.notes += [f"folder {top} read as {split}" for top, split in named.items() if top != split]
        return dict(named)
    if not named or len(named) < len(tops):
        return {}
    if not lacking:
        rule = f"must be left out, as {root} is split already"
        raise UsageError(problem("--split", rule, tops, "leave it out, or give a folder of class folders"))
    found.notes.append(f"{' and '.join(named)} taken together and split again")
    return dict.fromkeys(named)


def _labels(config: BuildConfig, present: set[str]) -> tuple[str, ...]:
    root, names = str(config.folder), sorted(present)
    labels = tuple(names) if config.labels is None else config.labels
    outside = [name for name in names if name not in labels]
    if outside:
        rule = f"labels must not lie outside the map {', '.join(labels)}"
        raise DataError(problem(root, rule, outside, "add them to --labels, or move the folders away"))
    absent = [label for label in labels if label not in names]
    if absent:
        rule = f"must hold a folder for each of the labels {', '.join(labels)}"
        raise DataError(problem(root, rule, names, f"add {', '.join(absent)}, or change --labels"))
    if len(labels) < 2:
        raise DataError(problem(root, "must hold a folder for each of two classes or more", names, "add class folders"))
    return labels


def _collect(config: BuildConfig, folder: str, split: str | None, found: Found) -> None:
    """Add the files of one class folder (a name below the root), however deep they lie."""
    outer, slash, label = folder.rpartition("/")
    top, others = config.folder / folder, Counter[str]()
    waiting, before = [top], len(found.sources)
    while waiting:
        for entry in _entries(waiting.pop()):
            name = _name(entry, config.folder)
            left = _reason(entry, name)
            path = Path(entry.path)
            if left is None and entry.is_dir():
                waiting.append(path)
            elif left is None and (is_picture(path) if config.kind == "images" else is_video(path)):
                found.sources.append(Source(path, name, split, label, name.removeprefix(outer + slash)))
            else:
                found.left_out.append(left or _other(name, f"none of the {config.kind} that can be read"))
                others[path.suffix.lower() or "no suffix"] += 1
    if len(found.sources) == before:
        got = dict(others.most_common(3)) or "an empty folder"
        other_kind = "videos" if config.kind == "images" else "images"
        next_step = f"fill or remove the folder, or use --{other_kind}"
        raise DataError(problem(str(top), f"must hold {config.kind}", got, next_step))


def _subfolders(folder: Path, root: Path, found: Found) -> list[str]:
    """Names of the folders in a folder, sorted; all else in it is left out."""
    names = []
    for entry in _entries(folder):
        name = _name(entry, root)
        left = _reason(entry, name)
        if left is None and entry.is_dir():
            names.append(entry.name)
        else:
            found.left_out.append(left or _other(name, "not in a class folder"))
    return names


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: must be a readable folder, got: {error.strerror}; check the path") from error


def _name(entry: os.DirEntry[str], root: Path) -> str:
    """The path below the root, in one line of text that can be written."""
    return shown(Path(entry.path).relative_to(root).as_posix())


def _reason(entry: os.DirEntry[str], name: str) -> LeftOut | None:
    """Why an entry is left out whatever it holds; None for plain files and folders."""
    if entry.is_symlink():
        return LeftOut(name=name, reason="link", detail="symbolic links are not followed")
    if entry.name.startswith("."):
        return LeftOut(name=name, reason="hidden", detail="its name begins with a dot")
    if not is_text(entry.name):
        return _other(name, "its name holds control characters, or is not UTF-8")
    if not (entry.is_dir() or entry.is_file()):
        return _other(name, "neither file nor folder")
    return None


def _other(name: str, detail: str) -> LeftOut:
    return LeftOut(name=name, reason="other", detail=detail)
