"""`whc data info`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group

    from whc.data.report import DatasetReport, Finding


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--detect",
    metavar="NAME",
    shell_complete=_options.complete_model,
    help="Measure how the crops lie around the boxes of this detector, as `whc demo --detect NAME --margin` needs it.",
)
@_options.detect_class
@_options.task
@_options.tracking_uri
@_options.as_json
def command(file: Path, detect: str | None, detect_class: str | None, task: str | None, as_json: bool) -> None:
    """Rows, classes, people, leaks and image sizes of a data set FILE, which may be a folder of Parquet shards."""
    from whc import tasks
    from whc.data.cropping import measure
    from whc.data.parquet import column_names
    from whc.data.report import inspect

    kind = _options.task_named(task) if task else tasks.of_columns(column_names(file), str(file))
    detector = _options.detector(detect, detect_class, None) if detect or detect_class else None
    look = partial(measure, find=detector.find, detector=detector.name) if detector else None
    report = inspect(file, kind, look)
    _options.emit(report.model_dump(mode="json"), as_json, _render(report, detect))


def _render(report: DatasetReport, detect: str | None = None) -> Group:
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
    lines += _crops(report, detect)
    if report.split_aliases:
        lines.append(f"splits: {report.split_aliases}")
    lines.append(f"frame rate: {report.frame_rate or 'not told'}; fingerprint {report.fingerprint}")
    # A separate line: a title would be wrapped to the table's width.
    return Group(Text(f"{report.path}: {report.rows} rows"), table, *map(Text, lines))


def _crops(report: DatasetReport, detect: str | None) -> Iterator[str]:
    """How crops were cut, as the file says it and as a detector measures it."""
    from whc.data.cropping import MIN_FOUND, margin_text

    if report.crop:
        detector = report.crop.detector or "a detector"
        yield f"crops: cut around the boxes of {detector}, margin {margin_text(report.crop)}"
    if report.measure is None:
        return
    found = f"{detect} finds something in {report.measure.found} of {report.measure.looked} crops"
    if report.measure.rule is None:
        yield f"crops: not measured, as {found}, fewer than {MIN_FOUND}; try another detector"
        return
    rule = report.measure.rule
    yield (
        f"crops: {rule.scale:.2f} (+-{report.measure.spread:.2f}) of its boxes, centre {rule.offset_x:+.2f} to the "
        f"right and {rule.offset_y:+.2f} down, as {found}: whc demo --detect {detect} --margin={margin_text(rule)}"
    )


def _counted(finding: Finding) -> str:
    """The number of findings, and some examples."""
    more = " ..." if finding.count > len(finding.examples) else ""
    return f"{finding.count} ({', '.join(finding.examples)}{more})" if finding.count else "0"
