"""`whc data info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group

    from whc.data.report import DatasetReport


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@_options.as_json
def command(file: Path, as_json: bool) -> None:
    """Rows, classes, people, leaks and image sizes of a data set FILE, which may be a folder of Parquet shards."""
    from whc.data.report import inspect

    report = inspect(file)
    _options.emit(report.model_dump(mode="json"), as_json, _render(report))


def _render(report: DatasetReport) -> Group:
    from rich.console import Group
    from rich.table import Table

    from whc.records import NO_TEST_SPLIT

    table = Table(title=f"{report.path}: {report.rows} rows", title_justify="left")
    table.add_column("split")
    for heading in ("rows", *report.labels, "people", "clips"):
        table.add_column(heading, justify="right")
    for name, split in report.splits.items():
        numbers = (split.rows, *(split.classes.get(label, 0) for label in report.labels), split.people, split.clips)
        table.add_row(name, *map(str, numbers))
    leaks = report.leaks
    lines = [
        f"{NO_TEST_SPLIT}: nothing can be scored on test" if name == "test" else f"no {name} split: training needs one"
        for name, split in report.splits.items()
        if not split.rows
    ]
    lines += [
        f"{what} in more than one split: {leak.count}" + (f" ({', '.join(leak.examples)} ...)" if leak.count else "")
        for what, leak in (("people", leaks.people), ("clips", leaks.clips), ("identical images", leaks.images))
    ]
    bad = report.unreadable
    lines.append(f"unreadable images: {bad.count}" + (f" ({', '.join(bad.examples)} ...)" if bad.count else ""))
    lines.append("sizes: " + ", ".join(f"{size} ({count})" for size, count in report.sizes.items()))
    lines.append(report.clip_rule)
    if report.split_aliases:
        lines.append(f"splits: {report.split_aliases}")
    lines.append(f"frame rate: {report.frame_rate or 'not told'}; fingerprint {report.fingerprint}")
    return Group(table, *lines)
