"""From folders of pictures or clips to the project's Parquet file, with a report beside it."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from whc.data import build_report, duplicates, splitting
from whc.data.build_report import BuildReport
from whc.data.dataset import SPLITS
from whc.data.pictures import require_utf8
from whc.data.reading import Item, read
from whc.data.sources import BuildConfig, FileSource, SourceFile, SourceScan
from whc.errors import DataError, UsageError, problem
from whc.records import replacing

PARQUET = Path("dataset.parquet")
REPORT = Path("report", "report.json")
PIE = Path("report", "classes.png")

_CHUNK_ROWS = 1000


def build(
    config: BuildConfig, task: FileSource, out: Path, on_progress: Callable[[int, int], None] | None = None
) -> BuildReport:
    """Build `out/dataset.parquet`, `out/report/report.json` and `out/report/classes.png`.

    All three appear when all is done; nothing is left behind when it fails or is interrupted. The same folder and
    seed give the same bytes. Encoded frames are held in memory, as they are when a data set is read.

    Args:
        config: what to build.
        task: whose labels the files have.
        out: folder, made when missing; must lie outside the folder that is read.
        on_progress: called with files read and files in all.

    Raises:
        DataError: the folder is not laid out as it should be, too much of it cannot be read, it cannot be split so
            that every split has every class, or the result cannot be written.
        UsageError: an option does not fit the folder.
    """
    _check_out(out, config)
    found = task.scan_files(config)
    groups = _groups(found, config)
    items = _without_copies(read(found, config, on_progress), found)
    items = [replace(item, group=groups[item.source.name]) for item in items]
    near = duplicates.clusters([item.appearances for item in items])
    items = _split(_united(items, near), found, config, task.needs_every_stratum)
    if task.needs_every_stratum:
        _check_strata(items, found, config)
    return _write(items, _clusters(items, near), found, config, out)


def _check_out(out: Path, config: BuildConfig) -> None:
    """Refuse now what would fail when all has been read."""
    for path in (out, config.folder):
        require_utf8(path, UsageError)
    is_inside = Path(os.path.realpath(out)).is_relative_to(os.path.realpath(config.folder))  # resolve() fails on loops
    if is_inside and config.csv is None:
        rule = f"must lie outside {config.folder}, where it would be taken for data"
        raise UsageError(problem("--out", rule, str(out), "choose another folder"))
    there = next(path for path in (out, *out.absolute().parents) if path.exists() or path.is_symlink())
    if not there.is_dir():
        raise UsageError(problem("--out", "must be a folder", str(there), "choose another path"))


def _groups(found: SourceScan, config: BuildConfig) -> dict[str, str]:
    """Each file's group by the file's name; without --group every file is one of its own."""
    names = [source.name for source in found.sources]
    if config.group is None and any(source.group for source in found.sources):
        return {source.name: source.group or source.name for source in found.sources}
    if config.group is None or (config.group, config.kind) == ("video", "videos"):
        return {name: name for name in names}
    keys = splitting.group_names([source.inner for source in found.sources], config.group)
    homes: dict[str, tuple[str | None, str]] = {}
    for source, key in zip(found.sources, keys, strict=True):
        split, name = homes.setdefault(key, (source.split, source.name))
        if split != source.split:
            rule = f"group {key!r} must lie in one split"
            next_step = "move its files together, or give the files unsplit with --split"
            raise DataError(problem(str(config.folder), rule, [name, source.name], next_step))
    return dict(zip(names, keys, strict=True))


def _without_copies(items: Sequence[Item], found: SourceScan) -> list[Item]:
    """Items that show nothing twice: one of exact copies stays, none of those that lie in two classes.

    Of copies in several splits the one in test, or else val, stays: held-out data keeps its rows, training loses some.
    """
    alike: defaultdict[tuple[bytes, ...], list[Item]] = defaultdict(list)
    for item in items:
        alike[tuple(one.digest for one in item.appearances)].append(item)
    kept = []
    for same in alike.values():
        first = max(same, key=lambda item: SPLITS.index(item.source.split or SPLITS[0]))
        others = [item.source for item in same if item is not first]
        contrary = next((source for source in others if _said(source) != _said(first.source)), None)
        if contrary is None:
            kept.append(first)
            for source in others:
                found.leave_out(source, "copy", f"exact copy of {first.source.name}")
        else:
            for item in same:
                found.leave_out(item.source, "conflict", f"labelled in two ways: {first.source.name} = {contrary.name}")
    return sorted(kept, key=lambda item: item.source.name)


def _said(source: SourceFile) -> dict[str, object]:
    """Labels of a file, for comparison: lists of labels have no order."""
    return {name: sorted(value) if isinstance(value, list) else value for name, value in source.cells.items()}


def _united(items: Sequence[Item], near: Sequence[int]) -> list[Item]:
    """Items whose groups also hold their near-duplicates, named after the first of what was united."""
    keys: list[list[list[Hashable]]] = [[[cluster] for cluster in near], [[item.group] for item in items]]
    return [
        replace(item, group=items[first].group)
        for item, first in zip(items, duplicates.join(len(items), keys), strict=True)
    ]


def _split(items: Sequence[Item], found: SourceScan, config: BuildConfig, needs_every_stratum: bool) -> list[Item]:
    """Items with their splits: as the folder has them, or whole groups dealt out."""
    if config.split is None:
        return [replace(item, split=item.source.split or "") for item in items]
    names = sorted({item.group for item in items})
    counts = np.zeros((len(names), len(found.strata_names)), np.int64)
    number = {name: i for i, name in enumerate(names)}
    for item in items:
        counts[number[item.group], found.strata_names.index(item.source.stratum)] += len(item.frames)
    splits = _dealt_strata(counts, found, config) if needs_every_stratum else _dealt_rows(counts, config)
    return [replace(item, split=SPLITS[splits[number[item.group]]]) for item in items]


def _dealt_strata(counts: NDArray[np.int64], found: SourceScan, config: BuildConfig) -> NDArray[np.int64]:
    """The split (G,) of each group, by rows (G, S) of each stratum, so that every split has every stratum."""
    assert config.split is not None  # noqa: S101 (the caller asks for it)
    for name, groups in zip(found.strata_names, (counts > 0).sum(0), strict=True):
        if groups < len(SPLITS):
            _refuse(f"{groups} groups of {name!r} for {len(SPLITS)} splits", found, config)
    splits = splitting.assign(counts, config.split, config.seed)
    if splits is None:
        _refuse("groups that hold several classes and cannot be dealt out so", found, config)
    return splits


def _dealt_rows(counts: NDArray[np.int64], config: BuildConfig) -> NDArray[np.int64]:
    """The split (G,) of each group, by rows (G, S) of each stratum, strata in balance as far as they can be."""
    assert config.split is not None  # noqa: S101 (the caller asks for it)
    if len(counts) < len(SPLITS):
        rule, next_step = "must hold a group for each split", "make groups smaller (near-duplicates are one group)"
        raise DataError(problem(str(config.folder), rule, len(counts), next_step))
    # A stratum in fewer groups than there are splits cannot be shared out; its rows count with the others.
    shared, rows = counts[:, (counts > 0).sum(0) >= len(SPLITS)], counts.sum(1, keepdims=True)
    splits = splitting.assign(np.column_stack([shared, rows]), config.split, config.seed)
    if splits is None:  # strata that lie together in large groups
        splits = splitting.assign(rows, config.split, config.seed)
    assert splits is not None  # noqa: S101 (three groups can always be dealt to three splits)
    return splits


def _check_strata(items: Sequence[Item], found: SourceScan, config: BuildConfig) -> None:
    present = {(item.split, item.source.stratum) for item in items}
    is_test_absent = config.split is None and all(source.split != "test" for source in found.sources)
    for split in SPLITS[:-1] if is_test_absent else SPLITS:
        for name in found.strata_names:
            if (split, name) not in present:
                _refuse(f"none of {name!r} in {split}", found, config)


def _refuse(got: str, found: SourceScan, config: BuildConfig) -> NoReturn:
    left = [left for left in found.left_out if left.reason in ("unreadable", "short", "copy", "conflict")]
    why = f" (left out: {len(left)}, such as {left[0].name}: {left[0].detail})" if left else ""
    next_step = "add people or clips of that class, or make groups smaller (near-duplicates are one group)"
    raise DataError(f"{config.folder}: every split must have rows of every class, got {got}{why}; {next_step}")


def _clusters(items: Sequence[Item], near: Sequence[int]) -> list[list[Item]]:
    """The near-duplicates, those of a cluster together."""
    members: defaultdict[int, list[Item]] = defaultdict(list)
    for item, cluster in zip(items, near, strict=True):
        members[cluster].append(item)
    return [cluster for cluster in members.values() if len(cluster) > 1]


def _write(
    items: Sequence[Item], near: Sequence[Sequence[Item]], found: SourceScan, config: BuildConfig, out: Path
) -> BuildReport:
    with ExitStack() as files:  # entered one by one: what is refused names the last one
        parquet = files.enter_context(replacing(out / PARQUET))
        _write_rows(items, found, config, parquet)
        report = build_report.summarize(items, near, found, config, out / PARQUET, parquet)
        build_report.draw(report, files.enter_context(replacing(out / PIE)))
        text = files.enter_context(replacing(out / REPORT))
        text.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return report


def _write_rows(items: Sequence[Item], found: SourceScan, config: BuildConfig, path: Path) -> None:
    ordered = sorted(items, key=lambda item: SPLITS.index(item.split))
    rows = [(item, number) for item in ordered for number in item.frames]
    schema = _schema(found, config)
    is_clip = config.kind == "videos"
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(rows), _CHUNK_ROWS):
            chunk = rows[start : start + _CHUNK_ROWS]
            columns: dict[str, list[object]] = {
                "split": [item.split for item, _ in chunk],
                "image_path": [item.source.name + (f"/{n:05d}.jpg" if is_clip else "") for item, n in chunk],
                "image_bytes": [item.frames[number] for item, number in chunk],
                **{name: [item.source.cells[name] for item, _ in chunk] for name in found.columns},
                "video_id": [item.source.name for item, _ in chunk],
                "timestamp": [number for _, number in chunk],
                "person_id": [item.group for item, _ in chunk],
            }
            writer.write_table(pa.table(columns, schema))


def _schema(found: SourceScan, config: BuildConfig) -> pa.Schema:
    columns = {
        "split": pa.string(),
        "image_path": pa.string(),
        "image_bytes": pa.binary(),
        **found.columns,
        "video_id": pa.string(),
        "timestamp": pa.int64(),
        "person_id": pa.string(),
    }
    frame_rate = {"whc.frame_rate": json.dumps(config.fps)} if config.fps else {}
    return pa.schema(columns).with_metadata({**frame_rate, **found.metadata} or None)
