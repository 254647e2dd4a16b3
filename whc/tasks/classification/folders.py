"""Scan of class folders: which files are labelled pictures or clips, and which files are left out.

Without `--split` the folder holds split/class/files. Otherwise it holds class/files, or split/class/files
with a split missing; then all files are split again. Below a class, folders may nest.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from whc.data.pictures import is_picture, is_text, is_video, printable
from whc.data.sources import BuildConfig, SkippedFile, SourceFile, SourceScan
from whc.data.split_names import SPLIT_NAMES, split_named
from whc.errors import DataError, UsageError, problem


def scan(config: BuildConfig) -> SourceScan:
    """List a folder; a file without a known suffix is recognised by its first bytes. Links are not followed.

    Raises:
        DataError: the folder cannot be read or is not laid out as it should be, or a class folder is empty or outside
            the label map.
        UsageError: the folder has all three splits, but a new split is requested.
    """
    config.refuse_label_files()
    root, contents = config.folder, SourceScan()
    tops = _subfolders(root, root, contents)
    splits = _splits(config, tops, contents)
    folders = (
        [f"{top}/{label}" for top in splits for label in _subfolders(root / top, root, contents)] if splits else tops
    )
    contents.labels = contents.strata_names = _labels(config, {folder.rpartition("/")[2] for folder in folders})
    contents.columns = {"class_id": pa.int64(), "label": pa.string()}
    for folder in folders:
        top, _, _ = folder.rpartition("/")
        _collect(config, folder, splits.get(top), contents)
    contents.sources.sort(key=lambda source: source.name)
    return contents


def _splits(config: BuildConfig, tops: list[str], contents: SourceScan) -> dict[str, str | None]:
    """The split of each split folder, None if all are split again; empty if the top folders are class folders."""
    root, split_of = str(config.folder), {top: split for top in tops if (split := split_named(top))}
    missing = [split for split in SPLIT_NAMES if split not in split_of.values()]
    if config.split is None:
        if set(missing) - {"test"}:
            is_split = "splits again what is there" if split_of else "splits these when they are the class folders"
            next_step = f"add {' and '.join(missing[:2])}; or --split 70/15/15 {is_split}"
            raise DataError(problem(root, "must hold the folders train and val, and test to score it", tops, next_step))
        contents.left_out += [_skipped_other(top, "not train, val or test") for top in tops if top not in split_of]
        contents.notes += [f"folder {top} read as {split}" for top, split in split_of.items() if top != split]
        return dict(split_of)
    if not split_of or len(split_of) < len(tops):
        return {}
    if not missing:
        rule = f"must be left out, as {root} is split already"
        raise UsageError(problem("--split", rule, tops, "leave it out, or give a folder of class folders"))
    contents.notes.append(f"{' and '.join(split_of)} taken together and split again")
    return dict.fromkeys(split_of)


def _labels(config: BuildConfig, folder_names: set[str]) -> tuple[str, ...]:
    root, names = str(config.folder), sorted(folder_names)
    labels = tuple(names) if config.labels is None else config.labels
    unknown = [name for name in names if name not in labels]
    if unknown:
        rule = f"labels must not lie outside the map {', '.join(labels)}"
        raise DataError(problem(root, rule, unknown, "add them to --labels, or move the folders away"))
    absent = [label for label in labels if label not in names]
    if absent:
        rule = f"must hold a folder for each of the labels {', '.join(labels)}"
        raise DataError(problem(root, rule, names, f"add {', '.join(absent)}, or change --labels"))
    if len(labels) < 2:
        raise DataError(problem(root, "must hold a folder for each of two classes or more", names, "add class folders"))
    return labels


def _collect(config: BuildConfig, folder: str, split: str | None, contents: SourceScan) -> None:
    """Add all files in a class folder (a path below the root) and its subfolders."""
    outer, slash, label = folder.rpartition("/")
    top, suffixes = config.folder / folder, Counter[str]()
    cells = {"class_id": contents.labels.index(label), "label": label}
    pending, count_before = [top], len(contents.sources)
    while pending:
        for entry in _entries(pending.pop()):
            name = _name(entry, config.folder)
            skipped = _skipped_entry(entry, name)
            path = Path(entry.path)
            if skipped is None and entry.is_dir():
                pending.append(path)
            elif skipped is None and (is_picture(path) if config.kind == "images" else is_video(path)):
                contents.sources.append(SourceFile(path, name, split, name.removeprefix(outer + slash), label, cells))
            else:
                contents.left_out.append(skipped or _skipped_other(name, f"none of the {config.kind} that can be read"))
                suffixes[path.suffix.lower() or "no suffix"] += 1
    if len(contents.sources) == count_before:
        content = dict(suffixes.most_common(3)) or "an empty folder"
        other_kind = "videos" if config.kind == "images" else "images"
        next_step = f"fill or remove the folder, or use --{other_kind}"
        raise DataError(problem(str(top), f"must hold {config.kind}", content, next_step))


def _subfolders(folder: Path, root: Path, contents: SourceScan) -> list[str]:
    """Names of the folders in a folder, sorted; all other entries are left out."""
    names = []
    for entry in _entries(folder):
        name = _name(entry, root)
        skipped = _skipped_entry(entry, name)
        if skipped is None and entry.is_dir():
            names.append(entry.name)
        else:
            contents.left_out.append(skipped or _skipped_other(name, "not in a class folder"))
    return names


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: must be a readable folder, got: {error.strerror}; check the path") from error


def _name(entry: os.DirEntry[str], root: Path) -> str:
    """The path below the root, as one line of printable text."""
    return printable(Path(entry.path).relative_to(root).as_posix())


def _skipped_entry(entry: os.DirEntry[str], name: str) -> SkippedFile | None:
    """The entry with the reason why it is left out, whatever it holds; None for plain files and folders."""
    if entry.is_symlink():
        return SkippedFile(name=name, reason="link", detail="symbolic links are not followed")
    if entry.name.startswith("."):
        return SkippedFile(name=name, reason="hidden", detail="its name begins with a dot")
    if not is_text(entry.name):
        return _skipped_other(name, "its name holds control characters, or is not UTF-8")
    if not (entry.is_dir() or entry.is_file()):
        return _skipped_other(name, "neither file nor folder")
    return None


def _skipped_other(name: str, detail: str) -> SkippedFile:
    return SkippedFile(name=name, reason="other", detail=detail)
