"""The report of `whc data build`: counts, files left out with reasons, near-duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from whc.data.cropping import margin_text
from whc.data.dataset import SPLIT_NAMES
from whc.data.reading import Item
from whc.data.report import SplitReport
from whc.data.sources import BuildConfig, SkippedFile, SourceScan


class BuildReport(BaseModel):
    """report.json.

    `near_duplicates` lists clusters of pictures (clips) that look nearly the same. `leaks` lists the clusters that lie
    in more than one split, which happens only if the folder was split already. `notes` are further messages for the
    user. People are counted by group.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    fingerprint: str
    rows: int
    labels: list[str]
    frame_rate: float | None
    splits: dict[str, SplitReport]
    left_out: list[SkippedFile]
    near_duplicates: list[list[str]]
    leaks: list[list[str]]
    notes: list[str]
    config: BuildConfig


def summarize(
    items: Sequence[Item],
    near: Sequence[Sequence[Item]],
    contents: SourceScan,
    config: BuildConfig,
    path: Path,
    file: Path,
) -> BuildReport:
    """Report on a build.

    Args:
        items: pictures or clips of the data set.
        near: clusters of near-duplicates.
        contents: files of the folder.
        config: settings of the build.
        path: final path of the Parquet file.
        file: present path of the Parquet file.
    """
    notes = [*contents.notes, *(f"{item.source.name}: {item.note}" for item in items if item.note)]
    if all(item.split != "test" for item in items):
        notes.append("no test split: nothing can be scored on test; --split 70/15/15 splits again what is there")
    if config.crop:
        notes.append(f"crops around the boxes of {config.crop.detector}, margin {margin_text(config.crop)}")
    has_groups = config.group or any(item.source.group for item in items)
    if config.split and not has_groups and any("/" in item.source.inner.split("/", 1)[1] for item in items):
        notes.append("files in one folder may lie in several splits: --group person keeps them together")
    return BuildReport(
        path=str(path),
        fingerprint=hashlib.sha256(file.read_bytes()).hexdigest()[:16],
        rows=sum(len(item.frames) for item in items),
        labels=list(contents.labels),
        frame_rate=config.fps,
        splits={
            split: _split_report([item for item in items if item.split == split], contents.strata_names)
            for split in SPLIT_NAMES
        },
        left_out=sorted(contents.left_out, key=lambda skipped: skipped.name),
        near_duplicates=[_names(cluster) for cluster in near],
        leaks=[_names(cluster) for cluster in near if len({item.split for item in cluster}) > 1],
        notes=notes,
        config=config,
    )


def _split_report(items: Sequence[Item], strata_names: Sequence[str]) -> SplitReport:
    rows = dict.fromkeys(strata_names, 0)
    for item in items:
        rows[item.source.stratum] += len(item.frames)
    return SplitReport(
        rows=sum(rows.values()), strata=rows, people=len({item.group for item in items}), clips=len(items)
    )


def _names(items: Sequence[Item]) -> list[str]:
    return [item.source.name for item in items]
