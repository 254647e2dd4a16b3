"""Pictures with label files, as `whc data build` reads them: YOLO, Pascal VOC or COCO, whichever is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from whc.data.dataset import MAX_UNREADABLE
from whc.data.sources import BuildConfig, SkippedFile, SourceFile, SourceScan
from whc.errors import DataError, UsageError, problem, shown
from whc.tasks.detection import listing, rows
from whc.tasks.detection.annotations import Annotations, Box, ClassKey
from whc.tasks.detection.folder import LabelledFolder

MAX_NAMED = 5  # classes in a note


def claims(config: BuildConfig) -> bool:
    """Whether pictures with label files are asked for, or lie in the folder."""
    if config.kind != "images" or config.csv is not None or config.labels is not None:
        return False
    if config.label_path is not None or config.lists or config.classes is not None:
        return True
    return config.folder.is_dir() and bool(LabelledFolder.listed(config.folder, None, []).formats)


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
    folder = LabelledFolder.listed(config.folder, config.label_path, result.left_out)
    if not folder.pictures:
        raise DataError(f"{config.folder}: must hold images, got none; check the path")
    listed = listing.by_lists(config, folder.pictures) if config.lists else None
    found = folder.annotations()
    result.left_out += found.left_out
    result.notes += found.notes
    labelled = [name for name in (folder.pictures if listed is None else sorted(listed)) if name in found.pictures]
    if not labelled:
        where = f", but of {found.left_out[0].name}: {found.left_out[0].detail}" if found.left_out else ""
        raise DataError(f"{config.folder}: must have labels of its pictures, got none{where}; check the paths")
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


def _tell_unlabelled(names: Sequence[str], found: Annotations, result: SourceScan) -> None:
    for name in names:
        if name not in found.pictures:
            result.left_out.append(SkippedFile(name=name, reason="no labels", detail="no labels of its name"))


def _boxes(
    boxes_of: Mapping[str, Sequence[Box]], found: Annotations, config: BuildConfig, result: SourceScan
) -> dict[str, list[list[float]]]:
    """Boxes of each picture as numbers, of the classes asked for; sets the labels of the result."""
    keys = {box.key for boxes in boxes_of.values() for box in boxes if not box.fault}
    known = _known_classes(keys, config.classes) if found.classes is None else found.classes
    classes = _kept(known, config.classes)
    result.labels = tuple(known[key] for key in classes)
    others = known.keys() - classes.keys()
    pairs = [(name, box) for name, boxes in boxes_of.items() for box in boxes if box.fault or box.key not in others]
    if not pairs:
        raise DataError(f"{config.folder}: must have boxes, got none in {len(boxes_of)} pictures; check the labels")
    if dropped := sum(map(len, boxes_of.values())) - len(pairs):
        result.notes.append(f"boxes of classes that --classes does not name: {dropped}")
    boxes = [box for _, box in pairs]
    numbers = _as_kept([(*box.shares, classes.get(box.key, -1)) for box in boxes])
    faults = _faults(boxes, numbers, len(result.labels))
    _check_faults(boxes, numbers, faults, config, result)
    is_right = np.array([not fault for fault in faults])
    kept = _clipped(numbers[is_right], result)
    _tell_absent(kept, result)
    names = [name for (name, _), fault in zip(pairs, faults, strict=True) if not fault]
    return _by_picture(boxes_of, names, kept, result)


def _tell_absent(boxes: NDArray[np.float64], result: SourceScan) -> None:
    absent = [label for i, label in enumerate(result.labels) if not (boxes[:, 4] == i).any()]
    if absent:
        some = ", ".join(absent[:MAX_NAMED]) + (" ..." if len(absent) > MAX_NAMED else "")
        result.notes.append(f"classes without a box: {len(absent)} ({some}); --classes keeps those that are named")


def _by_picture(
    pictures: Iterable[str], names: Sequence[str], boxes: NDArray[np.float64], result: SourceScan
) -> dict[str, list[list[float]]]:
    """Boxes (M, 5) by the picture that each is of, without those that are there already."""
    found: dict[str, list[list[float]]] = {name: [] for name in pictures}
    repeated = 0
    for name, box in zip(names, boxes.astype(np.float32).tolist(), strict=True):
        if box in found[name]:
            repeated += 1
        else:
            found[name].append(box)
    if repeated:
        result.notes.append(f"boxes that a picture has twice, of which one was taken: {repeated}")
    return found


def _as_kept(boxes: Sequence[tuple[float, ...]]) -> NDArray[np.float64]:
    """Boxes (M, 5) with the precision that a data set has, so that what is right here is right there."""
    with np.errstate(over="ignore"):
        return np.array(boxes, np.float64).astype(np.float32).astype(np.float64)


def _known_classes(keys: set[ClassKey], wanted: Sequence[str] | None) -> dict[ClassKey, str]:
    """Names by number where no file names the classes: those of `--classes` if they are no numbers."""
    numbers = [int(name) for name in wanted or () if name.isdecimal()]
    names = list(wanted or ()) if not numbers else []
    ids = [key for key in keys if isinstance(key, int) and key >= 0]
    count = min(max([*ids, *numbers, len(names) - 1, 0]) + 1, rows.MAX_CLASSES)
    return dict(enumerate([*names, *rows.unnamed(count)[len(names) :]]))


def _kept(known: Mapping[ClassKey, str], wanted: Sequence[str] | None) -> dict[ClassKey, int]:
    """The new number of each class that is kept, by its name or its number in the files; None keeps all."""
    if wanted is None:
        return {key: number for number, key in enumerate(known)}
    kept: dict[ClassKey, int] = {}
    for name in wanted:
        named = [key for key, label in known.items() if label == name]
        key = next(iter([*named, *(key for key in known if str(key) == name)]), None)
        if key is None or key in kept:
            rule = f"must be different classes of {', '.join(known.values())}"
            raise UsageError(problem("--classes", rule, name, "choose some of them, by name or number"))
        kept[key] = len(kept)
    return kept


def _faults(boxes: Sequence[Box], numbers: NDArray[np.float64], classes: int) -> list[str]:
    """What is wrong with each box, with what it has; nothing where it can be."""
    found = []
    for box, row, fault in zip(boxes, numbers, rows.faults(numbers, classes), strict=True):
        got = box.key if fault == rows.FAULTS[3] else [round(value, 6) for value in row[:4].tolist()]
        found.append(box.fault or (fault and f"{fault}, got {shown(got)}"))
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


def _clipped(boxes: NDArray[np.float64], result: SourceScan) -> NDArray[np.float64]:
    """Boxes (M, 5), those that hang over the edge of their picture cut off there; others as they are."""
    centre, size = boxes[:, :2], boxes[:, 2:4]
    low, high = centre - size / 2, centre + size / 2
    hangs_over = np.asarray(((low < -rows.TOLERANCE) | (high > 1 + rows.TOLERANCE)).any(1))
    low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    hangs_over &= (high > low).all(1)
    if hangs_over.any():
        result.notes.append(f"boxes that hang over the edge of their picture, cut off there: {int(hangs_over.sum())}")
    cut = np.column_stack([(low + high) / 2, high - low, boxes[:, 4:]])
    return np.where(hangs_over[:, None], cut, boxes)


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
