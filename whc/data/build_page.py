"""report.html of `whc data build`: classes, splits and sizes, and pictures of what went in and of what was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from whc.data.build_report import BuildReport
from whc.data.pictures import read_file
from whc.data.preprocess import Unreadable, decode, read_image
from whc.data.reading import Item
from whc.data.sources import FileSource, SkippedFile
from whc.pages import Bar, Column, Facts, Fold, Part, Picture, Pictures, Section, SideBySide, Table, Text, render
from whc.pages.thumbnails import thumbnail
from whc.words import quantity

MAX_CLASSES, PICTURES_A_CLASS = 40, 8  # with pictures, as a page must stay small
MAX_CLUSTERS, PICTURES_A_CLUSTER = 12, 4
MAX_LEFT_OUT = 12  # of a reason
MAX_NAMES = 200
MAX_SIZES = 8
NOTE = "This page holds pictures of the data set. Think of the people on them before you pass it on."


def page(report: BuildReport, items: Sequence[Item], near: Sequence[Sequence[Item]], task: FileSource) -> str:
    """The page of a build as HTML.

    Args:
        report: what was built.
        items: pictures or clips of the data set.
        near: clusters of near-duplicates.
        task: draws the labels over the pictures.
    """
    facts = {
        "file": report.path,
        "fingerprint": report.fingerprint,
        "rows": f"{report.rows:,}",
        "from": str(report.config.folder),
        "frames a second": "no clips" if report.frame_rate is None else f"{report.frame_rate:g}",
    }
    sections = [
        Section("Classes and splits", [_splits(report), *map(Text, report.notes)]),
        Section("Sizes", _sizes(items)),
        Section("Pictures of each class", _classes(report, items, task)),
        Section("Near-duplicates", _near(report, near, task)),
        Section("Left out", _left_out(report)),
    ]
    return render(Path(report.path).parent.name or report.path, facts, sections, NOTE)


def _splits(report: BuildReport) -> Table:
    """Rows of each class in each split, with bars of their shares in the split."""
    splits = report.splits
    columns = [Column("rows"), *(Column(name, is_number=True) for name in splits)]
    names = list(next(iter(splits.values())).strata)
    rows: list[list[str | Bar]] = [
        [name, *(_bar(split.strata[name], split.rows) for split in splits.values())] for name in names
    ]
    rows.append(["all", *(_bar(split.rows, report.rows) for split in splits.values())])
    what = "clips" if report.frame_rate else "pictures"
    rows.append([what, *(f"{split.clips:,}" for split in splits.values())])
    rows.append(["groups", *(f"{split.people:,}" for split in splits.values())])
    return Table(columns, rows)


def _bar(count: int, total: int) -> Bar:
    share = count / total if total else 0.0
    return Bar(f"{count:,} ({share:.0%})", share)


def _sizes(items: Sequence[Item]) -> list[Part]:
    sizes = Counter(frame.size for item in items for frame in item.appearances)
    sides = np.array(list(sizes.elements()))
    low, middle, high = np.percentile(sides, [0, 50, 100], axis=0).round().astype(int).tolist()
    spans = {
        name: f"{low[i]} pixels" if low[i] == high[i] else f"{low[i]} to {high[i]} pixels, the median {middle[i]}"
        for i, name in enumerate(("width", "height"))
    }
    commonest = sizes.most_common(MAX_SIZES)
    rows: list[list[str | Bar]] = [
        [f"{width} x {height}", _bar(count, len(sides))] for (width, height), count in commonest
    ]
    parts: list[Part] = [Facts(spans), Table([Column("commonest"), Column("pictures", is_number=True)], rows)]
    if len(sizes) > MAX_SIZES:
        parts.append(Text(f"and {quantity(len(sizes) - MAX_SIZES, 'other size')}"))
    return parts


def _classes(report: BuildReport, items: Sequence[Item], task: FileSource) -> list[Part]:
    """Pictures of each class, evenly chosen from its files in their order."""
    members: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        members[item.source.stratum].append(item)
    names = [name for name in next(iter(report.splits.values())).strata if members[name]]
    parts: list[Part] = []
    for name in names[:MAX_CLASSES]:
        of_class = members[name]
        places = np.unique(np.linspace(0, len(of_class) - 1, PICTURES_A_CLASS).round().astype(int)).tolist()
        title = f"{name}: {quantity(len(of_class), 'clip' if report.frame_rate else 'picture')}"
        parts.append(Fold(title, [Pictures([_of_item(of_class[place], task) for place in places])], is_open=True))
    if len(names) > MAX_CLASSES:
        parts.append(Text(f"Pictures of the first {MAX_CLASSES} of {len(names)} classes are shown."))
    return parts


def _of_item(item: Item, task: FileSource) -> Picture:
    """The picture of an item with its labels; of a clip the middle frame."""
    frames = list(item.frames.values())
    picture, strokes = decode(frames[len(frames) // 2]), task.label_strokes(item.source.cells)
    return Picture(thumbnail(picture, strokes), f"{item.source.name} ({item.split})")


def _near(report: BuildReport, near: Sequence[Sequence[Item]], task: FileSource) -> list[Part]:
    if not near:
        return [Text("There are none.")]
    count = f"{sum(map(len, near)):,} in {quantity(len(near), 'cluster')}"
    words = [f"Those that look nearly the same are in one split: {count}."]
    if report.leaks:
        words = [
            f"{count}; {quantity(len(report.leaks), 'cluster')} in more than one split, as the folder was split so."
        ]
    parts: list[Part] = [Text(text) for text in words]
    leaks = sorted(near, key=lambda cluster: len({item.split for item in cluster}) == 1)  # they come first
    shown = [
        Pictures([_of_item(item, task) for item in cluster[:PICTURES_A_CLUSTER]]) for cluster in leaks[:MAX_CLUSTERS]
    ]
    parts.append(SideBySide(shown))
    if len(near) > MAX_CLUSTERS:
        parts.append(Text(f"and {quantity(len(near) - MAX_CLUSTERS, 'other cluster')}; report.json lists all."))
    return parts


def _left_out(report: BuildReport) -> list[Part]:
    if not report.left_out:
        return [Text("Nothing was left out.")]
    by_reason: defaultdict[str, list[SkippedFile]] = defaultdict(list)
    for entry in report.left_out:
        by_reason[entry.reason].append(entry)
    return [_reason(reason, entries, report) for reason, entries in by_reason.items()]


def _reason(reason: str, entries: Sequence[SkippedFile], report: BuildReport) -> Fold:
    rows = [[entry.name, entry.detail] for entry in entries[:MAX_NAMES]]
    parts: list[Part] = []
    files = [report.config.folder / entry.name for entry in entries[:MAX_LEFT_OUT]]
    if report.config.kind == "images" and any(path.is_file() for path in files):
        shown = [_of_file(path, entry) for path, entry in zip(files, entries, strict=False)]
        parts.append(Pictures(shown))
    parts.append(Table([Column("file"), Column("why")], rows))
    if len(entries) > MAX_NAMES:
        parts.append(Text(f"and {len(entries) - MAX_NAMES:,} more; report.json lists all."))
    return Fold(f"{reason}: {len(entries):,}", parts, is_open=True)


def _of_file(path: Path, entry: SkippedFile) -> Picture:
    """The picture of a file that was left out; empty if it cannot be read."""
    try:
        picture = read_image(read_file(path))
    except Unreadable:
        picture = None
    return Picture(thumbnail(picture), f"{entry.name}: {entry.detail}")
