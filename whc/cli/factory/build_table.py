"""`whc factory build-table`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group

    from whc.records import LadderTable


@click.command()
@click.option("--study", shell_complete=_options.complete_study, help="Name of the study.  [default: the newest]")
@click.option(
    "--recipe",
    shell_complete=_options.complete_shipped("factory"),
    help="Recipe: a path, or the name of one in factory/.  [default: the study's]",
)
@click.option("--no-register", is_flag=True, help="Write the table and the files, but leave the registry as it is.")
@_options.file("--latency-from", help="Timings of the study's candidates/ that `whc bench --out` wrote on a device.")
@_options.runs
@_options.as_json
def command(
    study: str | None,
    recipe: str | None,
    no_register: bool,
    latency_from: Path | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Export, check, time, choose and name the variants of a study; write its table; register and promote them.

    A ladder that its gates refuse is registered, but not promoted: see `whc factory promote`.
    """
    from whc.factory.build import build_table
    from whc.records import LadderObserver, existing_study
    from whc.search.showing.report_observer import ReportObserver

    folder = existing_study(runs, study)
    with _options.steps() as on_step:
        observers: list[LadderObserver] = [ReportObserver()]
        if not no_register:
            from whc.registry.location import read_location
            from whc.registry.models import Registry

            observers.append(Registry(read_location(), _options.gates(folder, runs, on_step)))
        table, lines = build_table(folder, recipe, observers, on_step, latency_from)
    _options.emit(table.model_dump(mode="json", by_alias=True), as_json, _render(table, folder, lines))


def _render(table: LadderTable, folder: Path, lines: list[str]) -> Group:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    from whc import tasks
    from whc.words import quantity

    metric = table.metric
    title = f"{table.study}: {quantity(len(table.variants), 'variant')}"
    # Without edges, so that it fits 80 columns.
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    shown.add_column("variant", no_wrap=True)
    for heading in (f"test {metric.name} (95 %)", f"val {metric.name}", "ms (95 %)", "x ref", "KB"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in table.variants:
        test = metric.number(row.score)
        if row.score_low is not None and row.score_high is not None:
            test += f" ({metric.shown_range(row.score_low, row.score_high, '-')})"
        latency = f"{row.latency_ms:.4f} ({row.latency_low_ms:.4f}-{row.latency_high_ms:.4f})"
        shown.add_row(
            row.name, test, metric.number(row.val_score), latency, row.ratio_shown, f"{row.size_bytes / 1000:.1f}"
        )
    remarks = [f"{row.name}: {note}" for row in table.variants for note in row.notes[1:]]
    left_out = f"{quantity(len(table.left_out), 'candidate')} left out"
    out = f"{left_out}; files: {folder / 'table.md'}, table.csv, table.json, front.png, front.svg"
    score, split = table.floor_shown
    constant = tasks.of_table(table.task, table.labels).words.floor
    floor = f"{constant} scores {metric.shown(score)}" + ("" if table.test_split else f" on {split}")
    untested = [] if table.test_split else [metric.untested]
    reference = "x ref: times the reference network, which compares with other sessions and studies"
    at_95 = f"at 95 % {table.variants_at_95} would be left"
    told = (
        [f"each adds to the faster one with {100 * table.confidence:.0f} % confidence; {at_95}"]
        if len(table.variants) > 1
        else []
    )
    return Group(shown, *untested, floor, reference, *told, *remarks, *lines, out)
