"""Pictures with label files, as `whc data build` reads them: YOLO, Pascal VOC or COCO, whichever is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from whc.data.dataset import MAX_UNREADABLE
from whc.data.sources import BuildConfig, SkippedFile, SourceFile, SourceScan
from whc.data.split_names import split_named
from whc.errors import DataError, UsageError, problem
from whc.tasks.detection import coco, listing, rows, voc, yolo
from whc.tasks.detection.annotations import Annotations, Box, ClassKey

FOLDERS_OF_LABELS = {"images": ("labels", "annotations", "Annotations"), "JPEGImages": ("Annotations", "labels")}

_LOOKED_AT = 50  # label files that may be empty before a folder is no folder of labels


@dataclass(frozen=True)
class _Folder:
    """Files below the pictures' folder: all names, those of pictures, and label files of one kind by picture."""

    root: Path
    names: Sequence[str]
    pictures: Sequence[str]
    label_path: Path | None

    def label_files(self, suffix: str) -> dict[str, Path]:
        """The label file of each picture that has one: beside it, or in the folder of labels beside its own."""
        there = set(self.all_label_files(suffix))
        found = {
            name: next((path for path in self._places(name, suffix) if path in there), None) for name in self.pictures
        }
        return {name: path for name, path in found.items() if path is not None}

    def all_label_files(self, suffix: str) -> list[Path]:
        """Files with this suffix that may be labels; lists of splits and of classes are none."""
        paths = [root / name for root, names in self._label_roots() for name in names if name.lower().endswith(suffix)]
        looks_like_labels = _LOOKS_LIKE_LABELS[suffix]
        return [path for path in paths if not _is_reserved(path) or looks_like_labels(path)]

    def _label_roots(self) -> Iterator[tuple[Path, Sequence[str]]]:
        if self.label_path is not None:
            yield self.label_path, listing.names_below(self.label_path, [])
            return
        yield self.root, self.names
        for path in _beside(self.root):
            if path.is_dir() and not path.is_relative_to(self.root):
                yield path, listing.names_below(path, [])

    def _places(self, name: str, suffix: str) -> Iterator[Path]:
        path = PurePosixPath(name).with_suffix(suffix)
        if self.label_path is None:
            yield self.root / path
            yield from _beside(self.root / path)
            return
        yield self.label_path / path
        yield self.label_path / PurePosixPath(*(part for part in path.parts if part not in listing.PICTURE_FOLDERS))
        yield self.label_path / path.name


_LOOKS_LIKE_LABELS: Mapping[str, Callable[[Path], bool]] = {
    yolo.SUFFIX: yolo.looks_like_labels,
    voc.SUFFIX: voc.looks_like_labels,
}


def claims(config: BuildConfig) -> bool:
    """Whether pictures with label files are asked for, or lie in the folder."""
    if config.kind != "images" or config.csv is not None:
        return False
    if config.label_path is not None or config.lists or config.classes is not None:
        return True
    return config.folder.is_dir() and bool(_formats(_listed_folder(config, [])))


def scan(config: BuildConfig) -> SourceScan:
    """The pictures of a folder with their boxes.

    A picture whose labels are empty has none of the objects, and is kept; a picture without labels is left out. So
    are boxes that cannot be, up to the share of pictures that may be unreadable.

    Raises:
        DataError: no labels are there, too many boxes cannot be, or a file is not as it must be.
        UsageError: an option does not fit the folder.
    """
    _check_options(config)
    result = SourceScan()
    folder = _listed_folder(config, result.left_out)
    if not folder.pictures:
        raise DataError(f"{config.folder}: must hold images, got none; check the path")
    listed = listing.by_lists(config, folder.pictures) if config.lists else None
    found = _annotations(folder, config)
    result.left_out += found.left_out
    result.notes += found.notes
    labelled = [name for name in (folder.pictures if listed is None else sorted(listed)) if name in found.pictures]
    told = {name: picture.split for name, picture in found.pictures.items()}
    splits = listing.by_folders(config, labelled, told, result) if listed is None else listed
    _tell_unlabelled(folder.pictures if listed is None else sorted(listed), found, result)
    if listed is not None and (others := len(set(found.pictures) - set(listed))):
        result.notes.append(f"pictures with labels that are in no list: {others}")
    boxes = _boxes({name: found.pictures[name].boxes for name in labelled if name in splits}, found, config, result)
    result.sources = [_source(name, boxes[name], splits[name], found, config) for name in boxes]
    result.strata_names = rows.STRATA
    result.columns = {rows.COLUMN: pa.list_(pa.list_(pa.float32(), rows.VALUES))}
    result.metadata = {rows.NAMES_KEY: json.dumps(result.labels, ensure_ascii=False)}
    return result


def _check_options(config: BuildConfig) -> None:
    if config.csv is not None:
        rule = "must be left out, as boxes are read from files of YOLO, VOC or COCO"
        raise UsageError(problem("--csv", rule, str(config.csv), "give the folder of pictures with --images"))
    if config.kind != "images":
        raise UsageError(problem("--videos", "must be left out, as boxes belong to pictures", "it", "give --images"))
    if config.labels is not None:
        rule = "must be a folder or .json file that is there, where pictures have boxes"
        next_step = "check the path; classes are chosen with --classes"
        raise UsageError(problem("--labels", rule, ",".join(config.labels), next_step))


def _listed_folder(config: BuildConfig, left_out: list[SkippedFile]) -> _Folder:
    names = listing.names_below(config.folder, left_out)
    return _Folder(config.folder, names, listing.pictures_among(config.folder, names), config.label_path)


def _beside(path: Path) -> Iterator[Path]:
    """The same path below the folder of labels that belongs to its last folder of pictures."""
    parts = path.parts
    last = max((i for i, part in enumerate(parts) if part in FOLDERS_OF_LABELS), default=None)
    if last is not None:
        for folder in FOLDERS_OF_LABELS[parts[last]]:
            yield Path(*parts[:last], folder, *parts[last + 1 :])


def _is_reserved(path: Path) -> bool:
    return path.name in yolo.NAME_FILES or split_named(path.stem) is not None


def _json_files(folder: _Folder) -> list[Path]:
    path = folder.label_path
    if path is None:
        return coco.json_files(folder.root, folder.names)
    if path.is_dir():
        return [path / name for name in listing.names_below(path, []) if name.lower().endswith(coco.SUFFIX)]
    return [path]


def _formats(folder: _Folder) -> list[str]:
    """Which label files are there: suffixes."""
    path = folder.label_path
    if path is not None and not path.is_dir():
        return [coco.SUFFIX]
    found = [coco.SUFFIX] if _json_files(folder) else []
    for suffix, looks_like_labels in _LOOKS_LIKE_LABELS.items():
        files = list(folder.label_files(suffix).values())
        filled = [file for file in files if file.stat().st_size][:_LOOKED_AT]
        if any(map(looks_like_labels, filled)):
            found.append(suffix)
    return found


def _annotations(folder: _Folder, config: BuildConfig) -> Annotations:
    formats = _formats(folder)
    if len(formats) > 1:
        rule = "must have labels of one format"
        next_step = "name the folder or the .json file of the labels with --labels"
        raise DataError(problem(str(config.folder), rule, formats, next_step))
    if not formats:
        where = str(config.label_path or config.folder)
        rule = (
            "must hold labels of the pictures: .txt of YOLO or .xml of VOC beside them or in labels/, or COCO's .json"
        )
        raise DataError(f"{where}: {rule}, got none that hold a box; name their folder or file with --labels")
    if formats == [coco.SUFFIX]:
        return coco.read(_json_files(folder), folder.root, folder.pictures)
    suffix = formats[0]
    files = folder.label_files(suffix)
    shown = {name: _shown(path, folder.root) for name, path in files.items()}
    if suffix == voc.SUFFIX:
        found = voc.read(files, shown, folder.root)
    else:
        found = yolo.read(files, shown, _name_files(folder))
    _tell_unused(suffix, set(files.values()), folder, found)
    return found


def _tell_unused(suffix: str, used: set[Path], folder: _Folder, found: Annotations) -> None:
    """Tell label files without a picture; of pictures whose labels lie elsewhere, only where there are such."""
    stems = {PurePosixPath(name).stem for name in folder.pictures}
    elsewhere: set[str] = set()
    for path in folder.all_label_files(suffix):
        if path in used or not (_LOOKS_LIKE_LABELS[suffix](path) or not path.stat().st_size):
            continue
        if path.stem in stems:
            elsewhere.add(_shown(path.parent, folder.root))
        else:
            found.leave_out(_shown(path, folder.root), "no picture", "labels without a picture of their name")
    if elsewhere:
        found.notes.append(
            f"label files that are not used in {', '.join(sorted(elsewhere))}; --labels chooses a folder"
        )


def _name_files(folder: _Folder) -> list[Path]:
    """Files that may name the classes: with the labels, or in the folder above them."""
    roots = [folder.label_path] if folder.label_path else []
    roots += [folder.root, *_beside(folder.root)]
    roots += [root.parent for root in roots[:1] if _beside_exists(root)]
    below = [folder.root / name for name in sorted(folder.names, key=lambda name: name.count("/"))]
    places = [root / name for root in roots for name in yolo.NAME_FILES]
    places += [path for name in yolo.NAME_FILES for path in below if path.name == name]
    return [path for path in dict.fromkeys(places) if path.is_file() and not path.is_symlink()]


def _beside_exists(root: Path) -> bool:
    """Whether a folder of pictures or of labels lies in a folder that holds the other too."""
    return root.name in FOLDERS_OF_LABELS or root.name in FOLDERS_OF_LABELS["images"]


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _tell_unlabelled(names: Sequence[str], found: Annotations, result: SourceScan) -> None:
    for name in names:
        if name not in found.pictures:
            result.left_out.append(SkippedFile(name=name, reason="no labels", detail="no labels of its name"))


def _boxes(
    boxes_of: Mapping[str, Sequence[Box]], found: Annotations, config: BuildConfig, result: SourceScan
) -> dict[str, list[list[float]]]:
    """Boxes of each picture as numbers, of the classes asked for; sets the labels of the result."""
    keys = {box.key for boxes in boxes_of.values() for box in boxes if not box.fault}
    classes, result.labels = _classes(keys, found, config.classes)
    is_other = {key for key in found.classes or keys if key not in classes}
    pairs = [(name, box) for name, boxes in boxes_of.items() for box in boxes if box.fault or box.key not in is_other]
    if not pairs:
        raise DataError(f"{config.folder}: must have boxes, got none in {len(boxes_of)} pictures; check the labels")
    if others := sum(map(len, boxes_of.values())) - len(pairs):
        result.notes.append(f"boxes of classes that --classes does not name: {others}")
    numbers = _as_kept([(*box.shares, classes.get(box.key, -1)) for _, box in pairs])
    faults = _faults([box for _, box in pairs], numbers, len(result.labels))
    _check_faults([box for _, box in pairs], numbers, faults, config, result)
    inside = _clipped(numbers, [not fault for fault in faults], result)
    boxes: dict[str, list[list[float]]] = {name: [] for name in boxes_of}
    repeated = 0
    for (name, _), fault, row in zip(pairs, faults, inside.astype(np.float32).tolist(), strict=True):
        if not fault and row in boxes[name]:
            repeated += 1
        elif not fault:
            boxes[name].append(row)
    if repeated:
        result.notes.append(f"boxes that a picture has twice, of which one was taken: {repeated}")
    absent = [label for i, label in enumerate(result.labels) if not (numbers[:, 4] == i).any()]
    if absent:
        result.notes.append(f"classes without a box: {', '.join(absent)}; --classes keeps some of them only")
    return boxes


def _as_kept(boxes: Sequence[tuple[float, ...]]) -> NDArray[np.float64]:
    """Boxes (M, 5) with the precision that a data set has, so that what is right here is right there."""
    with np.errstate(over="ignore"):
        return np.array(boxes, np.float64).astype(np.float32).astype(np.float64)


def _classes(
    keys: set[ClassKey], found: Annotations, wanted: Sequence[str] | None
) -> tuple[dict[ClassKey, int], tuple[str, ...]]:
    """The new number of each class that is kept, and the names in order of those."""
    classes = found.classes
    if classes is None:
        numbers = [key for key in keys if isinstance(key, int) and 0 <= key < rows.MAX_CLASSES]
        named = wanted if wanted and not any(name.isdecimal() for name in wanted) else None
        count = max([*numbers, *(int(name) for name in wanted or () if name.isdecimal())], default=0) + 1
        classes = dict(enumerate(named or rows.unnamed(min(count, rows.MAX_CLASSES))))
    if wanted is None:
        return {key: i for i, key in enumerate(classes)}, tuple(classes.values())
    kept: dict[ClassKey, int] = {}
    for name in wanted:
        key = next((key for key, label in classes.items() if label == name), None)
        key = next((one for one in classes if str(one) == name), None) if key is None else key
        if key is None or key in kept:
            rule = f"must be different classes, names or numbers of {', '.join(classes.values())}"
            raise UsageError(problem("--classes", rule, name, "choose some of them"))
        kept[key] = len(kept)
    return kept, tuple(classes[key] for key in kept)


def _faults(boxes: Sequence[Box], numbers: NDArray[np.float64], classes: int) -> list[str]:
    """What is wrong with each box, with what it has; nothing where it can be."""
    found = []
    for box, row, fault in zip(boxes, numbers, rows.faults(numbers, classes), strict=True):
        got = box.key if fault == rows.FAULTS[3] else [round(value, 6) for value in row[:4].tolist()]
        found.append(box.fault or (fault and f"{fault}, got {got}"))
    return found


def _check_faults(
    boxes: Sequence[Box], numbers: NDArray[np.float64], faults: Sequence[str], config: BuildConfig, result: SourceScan
) -> None:
    """Tell the boxes that cannot be.

    Raises:
        DataError: they are too many.
    """
    wrong = [i for i, fault in enumerate(faults) if fault]
    if len(wrong) > max(1, MAX_UNREADABLE * len(boxes)):
        first = boxes[wrong[0]]
        read = numbers[[not box.fault for box in boxes]]
        if faults[wrong[0]].startswith(rows.FAULTS[2]) and rows.are_pixels(read):
            raise DataError(rows.pixels_problem(str(config.folder / first.place), numbers[wrong[0]]))
        rule = f"at most {MAX_UNREADABLE:.0%} of the boxes (or one) may be wrong"
        next_step = f"mend or remove them, such as {first.place}: {faults[wrong[0]]}"
        raise DataError(problem(str(config.folder), rule, f"{len(wrong)} of {len(boxes)}", next_step))
    for i in wrong:
        result.left_out.append(SkippedFile(name=boxes[i].place, reason="bad box", detail=faults[i]))


def _clipped(numbers: NDArray[np.float64], is_right: Sequence[bool], result: SourceScan) -> NDArray[np.float64]:
    """Boxes (M, 5), those that hang over the edge of their picture cut off there; others as they are."""
    centre, size = numbers[:, :2], numbers[:, 2:4]
    low, high = centre - size / 2, centre + size / 2
    hangs_over = ((low < -rows.TOLERANCE) | (high > 1 + rows.TOLERANCE)).any(1) & np.array(is_right, bool)
    low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    hangs_over &= (high > low).all(1)
    cut = np.column_stack([(low + high) / 2, high - low, numbers[:, 4:]])
    if hangs_over.any():
        result.notes.append(f"boxes that hang over the edge of their picture, cut off there: {int(hangs_over.sum())}")
    return np.where(hangs_over[:, None], cut, numbers)


def _source(
    name: str, boxes: list[list[float]], split: str | None, found: Annotations, config: BuildConfig
) -> SourceFile:
    stratum = rows.STRATA[int(rows.strata(np.array([len(boxes)]))[0])]
    return SourceFile(
        path=config.folder / name,
        name=name,
        split=split,
        inner=listing.inner_name(name),
        stratum=stratum,
        cells={rows.COLUMN: boxes},
        label_size=found.pictures[name].size,
    )
