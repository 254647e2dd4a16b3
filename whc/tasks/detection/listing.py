"""Which pictures of a folder are read, and in which split: by lists, by folders, or to be split anew."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from whc.data.pictures import files_below, is_picture, is_text, printable
from whc.data.sources import BuildConfig, SkippedFile, SourceScan
from whc.data.split_names import SPLIT_NAMES, split_named
from whc.errors import DataError, UsageError, problem
from whc.tasks.detection.annotations import read_text

PICTURE_FOLDERS = ("images", "JPEGImages")
MAX_LIST_BYTES = 256 << 20

_TEXT_SUFFIXES = (".txt", ".xml", ".json", ".yaml", ".yml")
_SPLIT_DEPTH = 2  # folders in which a split may be named: images/train, train/images


def names_below(folder: Path, left_out: list[SkippedFile]) -> list[str]:
    """Paths of all files below a folder, sorted; links and names that are no text are left out.

    Raises:
        DataError: a folder cannot be read.
    """
    names = []
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            left_out.append(SkippedFile(name=printable(name), reason="link", detail="symbolic links are not followed"))
        elif not is_text(name):
            detail = "its name holds control characters, or is not UTF-8"
            left_out.append(SkippedFile(name=printable(name), reason="other", detail=detail))
        else:
            names.append(name)
    return sorted(names)


def pictures_among(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of the files below a folder that are pictures."""
    return [name for name in names if not name.lower().endswith(_TEXT_SUFFIXES) and is_picture(folder / name)]


def inner_name(name: str) -> str:
    """The part of a picture's name that `--group` looks at: without folders of splits and of pictures."""
    *folders, file = name.split("/")
    kept = [
        folder
        for depth, folder in enumerate(folders)
        if folder not in PICTURE_FOLDERS and (depth >= _SPLIT_DEPTH or folder_split(folder) is None)
    ]
    return "/" + "/".join([*kept, file])


def folder_split(name: str) -> str | None:
    """The split that a folder holds by its name, also with a year behind it (train2017)."""
    return split_named(name.rstrip("0123456789"))


def by_folders(
    config: BuildConfig, names: Sequence[str], told: Mapping[str, str | None], scan: SourceScan
) -> dict[str, str | None]:
    """The split of each picture by its folders, or else as its labels tell it; None for all that are split again.

    Raises:
        DataError: there is no train or val, and `--split` is not given.
        UsageError: `--split` is given although all three splits are there.
    """
    found = {name: _split_of(name) or told.get(name) for name in names}
    there = [split for split in SPLIT_NAMES if split in found.values()]
    root = str(config.folder)
    if config.split is not None:
        if len(there) == len(SPLIT_NAMES):
            rule = f"must be left out, as {root} is split already"
            raise UsageError(problem("--split", rule, there, "leave it out, or give a folder without splits"))
        if there:
            scan.notes.append(f"{' and '.join(there)} split again")
        return dict.fromkeys(names)
    if not {"train", "val"} <= set(there):
        rule = "must hold pictures of train and val, and of test to score it"
        next_step = "give lists with --lists train.txt --lists val.txt, or --split 70/15/15"
        raise DataError(problem(root, rule, there or "folders without these names", next_step))
    for name, split in found.items():
        if split is None:
            scan.left_out.append(SkippedFile(name=name, reason="other", detail="not in train, val or test"))
    return {name: split for name, split in found.items() if split}


def _split_of(name: str) -> str | None:
    folders = name.split("/")[:-1][:_SPLIT_DEPTH]
    return next((split for folder in folders if (split := folder_split(folder))), None)


def by_lists(config: BuildConfig, pictures: Sequence[str]) -> dict[str, str | None]:
    """The split of each picture that a list names; a list's own name says which split it is.

    Lines are paths below the folder or the list's folder, or the name of a picture without its suffix.

    Raises:
        DataError: a list cannot be read, names what is not below the folder, or what another list names too.
        UsageError: the lists are not those of train and val, and perhaps test.
    """
    if config.split is not None:
        raise UsageError(problem("--lists", "must go without --split", "both", "leave out one of them"))
    by_stem: dict[str, list[str]] = {}
    for name in pictures:
        by_stem.setdefault(PurePosixPath(name).stem, []).append(name)
    is_there, splits, places = set(pictures), dict[str, str | None](), dict[str, str]()
    for split, path in _lists(config).items():
        for place, line in _lines(path):
            name = _listed(line, place, path, config.folder, is_there, by_stem)
            if name in places and splits[name] != split:
                got = f"{name} in {places[name]} and {place}"
                raise DataError(problem(place, "must name no picture of another list", got, "drop one of the lines"))
            splits[name], places[name] = split, place
    return splits


def _lists(config: BuildConfig) -> dict[str, Path]:
    """The list of each split, in the order of splits."""
    lists: dict[str, Path] = {}
    for path in config.lists:
        split = split_named(path.stem) or split_named(path.stem.replace("-", "_").rpartition("_")[2])
        if split is None or split in lists:
            rule = "must be one list for each split, called train, val and test"
            raise UsageError(problem("--lists", rule, str(path), "rename the list, such as train.txt"))
        is_inside = not path.is_file() and not path.is_absolute() and (config.folder / path).is_file()
        lists[split] = config.folder / path if is_inside else path
    if not {"train", "val"} <= set(lists):
        rule = "must be lists of train and val, and of test to score it"
        raise UsageError(problem("--lists", rule, [str(path) for path in config.lists], "add --lists val.txt"))
    return {split: lists[split] for split in SPLIT_NAMES if split in lists}


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_text(path, MAX_LIST_BYTES).splitlines(), 1):
        if line.strip():
            yield f"{path} line {number}", line.strip().replace("\\", "/")


def _listed(
    line: str, place: str, path: Path, folder: Path, is_there: set[str], by_stem: Mapping[str, Sequence[str]]
) -> str:
    """The picture that a line names, below the folder."""
    root = _normal(folder)
    candidates = [_normal(base / line) for base in (folder, path.parent)]
    inside = [path.relative_to(root).as_posix() for path in candidates if path.is_relative_to(root)]
    if not inside:
        rule = f"must name pictures below {folder}"
        raise DataError(problem(place, rule, line, "write paths relative to the folder"))
    if found := next((name for name in inside if name in is_there), None):
        return found
    same = by_stem.get(line.split(maxsplit=1)[0], [])  # ImageSets of VOC have names without suffix, and perhaps a flag
    if len(same) == 1:
        return same[0]
    rule = "must name a picture that is there"
    raise DataError(problem(place, rule, line, f"write it relative to {folder}, or drop the line"))


def _normal(path: Path) -> Path:
    """A path without `..`, links not followed."""
    return Path(os.path.normpath(path.absolute()))
