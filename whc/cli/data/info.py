"""`whc data info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group

    from whc.data.report import DatasetReport, Finding


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@_options.task
@_options.as_json
def command(file: Path, task: str | None, as_json: bool) -> None:
    """Rows, classes, people, leaks and image sizes of a data set FILE, which may be a folder of Parquet shards."""
    from whc import tasks
    from whc.data.parquet import column_names
    from whc.data.report import inspect

    report = inspect(file, _options.task_named(task) if task else tasks.of_columns(column_names(file), str(file)))
    _options.emit(report.model_dump(mode="json"), as_json, _render(report))


def _render(report: DatasetReport) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from whc.records import NO_TEST_SPLIT

    table = Table()
    table.add_column("rows")
    for name in report.splits:
        table.add_column(name, justify="right")
    splits = report.splits.values()
    for name in dict.fromkeys(name for split in splits for name in split.strata):
        table.add_row(name, *(str(split.strata[name]) for split in splits))
    table.add_section()
    table.add_row("all", *(str(split.rows) for split in splits))
    table.add_row("people", *(str(split.people) for split in splits))
    table.add_row("clips", *(str(split.clips) for split in splits))
    leaks = report.leaks
    lines = [
        f"{NO_TEST_SPLIT}: nothing can be scored on test" if name == "test" else f"no {name} split: training needs one"
        for name, split in report.splits.items()
        if not split.rows
    ]
    lines += [
        f"{what} in more than one split: {_counted(leak)}"
        for what, leak in (("people", leaks.people), ("clips", leaks.clips), ("identical images", leaks.images))
    ]
    lines.append(f"unreadable images: {_counted(report.unreadable)}")
    lines.append("sizes: " + ", ".join(f"{size} ({count})" for size, count in report.sizes.items()))
    lines.append(report.clip_rule)
    if report.split_aliases:
        lines.append(f"splits: {report.split_aliases}")
    lines.append(f"frame rate: {report.frame_rate or 'not told'}; fingerprint {report.fingerprint}")
    # A separate line: a title would be wrapped to the table's width.
    return Group(Text(f"{report.path}: {report.rows} rows"), table, *map(Text, lines))


def _counted(finding: Finding) -> str:
    """The number of findings, and some examples."""
    more = " ..." if finding.count > len(finding.examples) else ""
    return f"{finding.count} ({', '.join(finding.examples)}{more})" if finding.count else "0"
