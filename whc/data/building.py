"""Builds the project's Parquet file from folders of pictures or clips, and a report."""

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

from whc.data import build_page, build_report, duplicates, splitting
from whc.data.build_report import BuildReport
from whc.data.cropping import Followed
from whc.data.dataset import CROP_KEY, SPLIT_NAMES
from whc.data.pictures import require_utf8
from whc.data.reading import Item, read
from whc.data.sources import BuildConfig, FileSource, SourceFile, SourceScan
from whc.errors import DataError, UsageError, problem
from whc.records import replacing

PARQUET_FILE = Path("dataset.parquet")
REPORT_FILE = Path("report", "report.json")
PAGE_FILE = Path("report", "report.html")

_CHUNK_ROWS = 1000


def build(
    config: BuildConfig,
    task: FileSource,
    out: Path,
    on_progress: Callable[[int, int], None] | None = None,
    follow: Callable[[], Followed] | None = None,
) -> BuildReport:
    """Build `out/dataset.parquet`, `out/report/report.json` and `out/report/report.html`.

    All three files appear together at the end; a failed or interrupted build leaves no file. The same folder and seed
    give the same bytes. Encoded frames stay in memory, as when a data set is read.

    Args:
        config: settings of the build.
        task: the task of the labels.
        out: output folder, created if missing; must lie outside the folder that is read.
        on_progress: called with the number of files read and of all files.
        follow: finds the people of a clip, whose crops are cut as `config.crop` says; None keeps complete frames.

    Raises:
        DataError: the layout of the folder is wrong, too many files cannot be read, the groups cannot be
            split so that every split has every class, or the result cannot be written.
        UsageError: an option does not fit the folder.
    """
    _check_out(out, config)
    contents = task.scan_files(config)
    groups = _groups(contents, config)
    items = _without_copies(read(contents, config, on_progress, follow), contents)
    items = [replace(item, group=groups[item.file]) for item in items]
    near = duplicates.clusters([item.appearances for item in items])
    items = _split(_united(items, near), contents, config, task.needs_every_stratum)
    if task.needs_every_stratum:
        _check_strata(items, contents, config)
    return _write(items, _clusters(items, near), contents, config, out, task)


def _check_out(out: Path, config: BuildConfig) -> None:
    """Refuse an output folder that would fail after all files are read."""
    for path in (out, config.folder):
        require_utf8(path, UsageError)
    is_inside = Path(os.path.realpath(out)).is_relative_to(os.path.realpath(config.folder))  # resolve() fails on loops
    if is_inside and config.csv is None:
        rule = f"must lie outside {config.folder}, where it would be taken for data"
        raise UsageError(problem("--out", rule, str(out), "choose another folder"))
    existing = next(path for path in (out, *out.absolute().parents) if path.exists() or path.is_symlink())
    if not existing.is_dir():
        raise UsageError(problem("--out", "must be a folder", str(existing), "choose another path"))


def _groups(contents: SourceScan, config: BuildConfig) -> dict[str, str]:
    """Each file's group, by the file's name; without --group every file has a group of its own."""
    names = [source.name for source in contents.sources]
    if config.group is None and any(source.group for source in contents.sources):
        return {source.name: source.group or source.name for source in contents.sources}
    if config.group is None or (config.group, config.kind) == ("video", "videos"):
        return {name: name for name in names}
    keys = splitting.group_names([source.inner for source in contents.sources], config.group)
    first_members: dict[str, tuple[str | None, str]] = {}  # split and name of each group's first file
    for source, key in zip(contents.sources, keys, strict=True):
        split, name = first_members.setdefault(key, (source.split, source.name))
        if split != source.split:
            rule = f"group {key!r} must lie in one split"
            next_step = "move its files together, or give the files unsplit with --split"
            raise DataError(problem(str(config.folder), rule, [name, source.name], next_step))
    return dict(zip(names, keys, strict=True))


def _without_copies(items: Sequence[Item], contents: SourceScan) -> list[Item]:
    """Items without exact copies: one of several copies stays, and none if their labels differ.

    Of copies in several splits, the one in test stays, or else the one in val, so that only training loses rows.
    """
    copies_by_digest: defaultdict[tuple[bytes, ...], list[Item]] = defaultdict(list)
    for item in items:
        copies_by_digest[tuple(frame.digest for frame in item.appearances)].append(item)
    remaining = []
    for copies in copies_by_digest.values():
        original = max(copies, key=lambda item: SPLIT_NAMES.index(item.source.split or SPLIT_NAMES[0]))
        duplicate_sources = [item.source for item in copies if item is not original]
        contrary = next(
            (source for source in duplicate_sources if _label_values(source) != _label_values(original.source)), None
        )
        if contrary is None:
            remaining.append(original)
            for source in duplicate_sources:
                contents.leave_out(source, "copy", f"exact copy of {original.source.name}")
        else:
            for item in copies:
                detail = f"labelled in two ways: {original.source.name} = {contrary.name}"
                contents.leave_out(item.source, "conflict", detail)
    return sorted(remaining, key=lambda item: item.source.name)


def _label_values(source: SourceFile) -> dict[str, object]:
    """Labels of a file, for comparison: lists of labels have no order."""
    return {name: sorted(value) if isinstance(value, list) else value for name, value in source.cells.items()}


def _united(items: Sequence[Item], near: Sequence[int]) -> list[Item]:
    """Items whose groups also contain their near-duplicates; a united group has the name of its first item's group."""
    keys: list[list[list[Hashable]]] = [[[cluster] for cluster in near], [[item.group] for item in items]]
    return [
        replace(item, group=items[representative].group)
        for item, representative in zip(items, duplicates.join(len(items), keys), strict=True)
    ]


def _split(items: Sequence[Item], contents: SourceScan, config: BuildConfig, needs_every_stratum: bool) -> list[Item]:
    """Items with their splits: those of the folder, or new ones that keep groups together."""
    if config.split is None:
        return [replace(item, split=item.source.split or "") for item in items]
    names = sorted({item.group for item in items})
    counts = np.zeros((len(names), len(contents.strata_names)), np.int64)
    number = {name: i for i, name in enumerate(names)}
    for item in items:
        counts[number[item.group], contents.strata_names.index(item.source.stratum)] += len(item.frames)
    splits = _dealt_strata(counts, contents, config) if needs_every_stratum else _dealt_rows(counts, config)
    return [replace(item, split=SPLIT_NAMES[splits[number[item.group]]]) for item in items]


def _dealt_strata(counts: NDArray[np.int64], contents: SourceScan, config: BuildConfig) -> NDArray[np.int64]:
    """The split (G,) of each group, by rows (G, S) of each stratum, so that every split has every stratum."""
    assert config.split is not None  # noqa: S101 (the caller asks for it)
    for name, groups in zip(contents.strata_names, (counts > 0).sum(0), strict=True):
        if groups < len(SPLIT_NAMES):
            _refuse(f"{groups} groups of {name!r} for {len(SPLIT_NAMES)} splits", contents, config)
    splits = splitting.assign(counts, config.split, config.seed)
    if splits is None:
        _refuse("groups that hold several classes and cannot be dealt out so", contents, config)
    return splits


def _dealt_rows(counts: NDArray[np.int64], config: BuildConfig) -> NDArray[np.int64]:
    """The split (G,) of each group, by rows (G, S) of each stratum, strata in balance as far as they can be."""
    assert config.split is not None  # noqa: S101 (the caller asks for it)
    if len(counts) < len(SPLIT_NAMES):
        rule, next_step = "must hold a group for each split", "make groups smaller (near-duplicates are one group)"
        raise DataError(problem(str(config.folder), rule, len(counts), next_step))
    # A stratum in fewer groups than there are splits cannot be shared out; its rows count with the others.
    shared, rows = counts[:, (counts > 0).sum(0) >= len(SPLIT_NAMES)], counts.sum(1, keepdims=True)
    splits = splitting.assign(np.column_stack([shared, rows]), config.split, config.seed)
    if splits is None:  # strata that lie together in large groups
        splits = splitting.assign(rows, config.split, config.seed)
    assert splits is not None  # noqa: S101 (three groups can always be dealt to three splits)
    return splits


def _check_strata(items: Sequence[Item], contents: SourceScan, config: BuildConfig) -> None:
    present = {(item.split, item.source.stratum) for item in items}
    is_test_absent = config.split is None and all(source.split != "test" for source in contents.sources)
    for split in SPLIT_NAMES[:-1] if is_test_absent else SPLIT_NAMES:
        for name in contents.strata_names:
            if (split, name) not in present:
                _refuse(f"none of {name!r} in {split}", contents, config)


def _refuse(problem_text: str, contents: SourceScan, config: BuildConfig) -> NoReturn:
    reasons = ("unreadable", "short", "nothing found", "copy", "conflict")
    skipped = [file for file in contents.left_out if file.reason in reasons]
    why = f" (left out: {len(skipped)}, such as {skipped[0].name}: {skipped[0].detail})" if skipped else ""
    next_step = "add people or clips of that class, or make groups smaller (near-duplicates are one group)"
    raise DataError(f"{config.folder}: every split must have rows of every class, got {problem_text}{why}; {next_step}")


def _clusters(items: Sequence[Item], near: Sequence[int]) -> list[list[Item]]:
    """The clusters of two or more near-duplicates."""
    members: defaultdict[int, list[Item]] = defaultdict(list)
    for item, cluster in zip(items, near, strict=True):
        members[cluster].append(item)
    return [cluster for cluster in members.values() if len(cluster) > 1]


def _write(
    items: Sequence[Item],
    near: Sequence[Sequence[Item]],
    contents: SourceScan,
    config: BuildConfig,
    out: Path,
    task: FileSource,
) -> BuildReport:
    with ExitStack() as files:  # entered one after another, so that an error names the right file
        parquet = files.enter_context(replacing(out / PARQUET_FILE))
        _write_rows(items, contents, config, parquet)
        report = build_report.summarize(items, near, contents, config, out / PARQUET_FILE, parquet)
        html = files.enter_context(replacing(out / PAGE_FILE))
        html.write_text(build_page.page(report, items, near, task), encoding="utf-8")
        text = files.enter_context(replacing(out / REPORT_FILE))
        text.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return report


def _write_rows(items: Sequence[Item], contents: SourceScan, config: BuildConfig, path: Path) -> None:
    ordered = sorted(items, key=lambda item: SPLIT_NAMES.index(item.split))
    rows = [(item, number) for item in ordered for number in item.frames]
    schema = _schema(contents, config)
    is_clip = config.kind == "videos"
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(rows), _CHUNK_ROWS):
            chunk = rows[start : start + _CHUNK_ROWS]
            columns: dict[str, list[object]] = {
                "split": [item.split for item, _ in chunk],
                "image_path": [item.source.name + (f"/{n:05d}.jpg" if is_clip else "") for item, n in chunk],
                "image_bytes": [item.frames[number] for item, number in chunk],
                **{name: [item.source.cells[name] for item, _ in chunk] for name in contents.columns},
                "video_id": [item.source.name for item, _ in chunk],
                "timestamp": [number for _, number in chunk],
                "person_id": [item.group for item, _ in chunk],
            }
            writer.write_table(pa.table(columns, schema))


def _schema(contents: SourceScan, config: BuildConfig) -> pa.Schema:
    columns = {
        "split": pa.string(),
        "image_path": pa.string(),
        "image_bytes": pa.binary(),
        **contents.columns,
        "video_id": pa.string(),
        "timestamp": pa.int64(),
        "person_id": pa.string(),
    }
    frame_rate = {"whc.frame_rate": json.dumps(config.fps)} if config.fps else {}
    crop = {CROP_KEY: config.crop.model_dump_json()} if config.crop else {}
    return pa.schema(columns).with_metadata({**frame_rate, **crop, **contents.metadata} or None)
