"""`whc factory build-table`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from whc.factory.opening import BuildRequest
    from whc.factory.plan import BuildPlan, PlannedLadder
    from whc.latency.timer.client import RemoteTimer
    from whc.records import LadderTable


@click.command()
@click.option("--study", shell_complete=_options.complete_study, help="Name of the study.  [default: the newest]")
@click.option(
    "--recipe",
    shell_complete=_options.complete_shipped("factory"),
    help="Recipe: a path, or the name of one in factory/.  [default: the study's]",
)
@click.option(
    "--prefix", metavar="NAME", help="What the names of the (first) ladder begin with.  [default: the recipe's]"
)
@click.option(
    "--runtime",
    "runtimes",
    metavar="NAME",
    multiple=True,
    help="Build only the recipe's ladders on this runtime; repeat for several.",
)
@click.option("--no-register", is_flag=True, help="Write the table and the files, but leave the registry as it is.")
@_options.file("--latency-from", help="Timings of the study's candidates/ that `whc bench --out` wrote on a device.")
@_options.time_on
@_options.token_file
@click.option("--retime", is_flag=True, help="Time the candidates again, even if an earlier build has.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done and how long it takes, and write nothing.")
@_options.runs
@_options.tracking_uri
@_options.as_json
def command(
    study: str | None,
    no_register: bool,
    dry_run: bool,
    runs: Path,
    as_json: bool,
    time_on: str | None,
    token_file: Path | None,
    **asked: Any,
) -> None:
    """Export, check, time, choose and name the variants of a study; write its table; register and promote them.

    What earlier builds have finished is reused, also after an interruption. A ladder that its gates refuse is
    registered, but not promoted: see `whc factory promote`.
    """
    from whc.config import validate
    from whc.errors import UsageError, problem
    from whc.factory.opening import BuildRequest
    from whc.records import existing_study

    request = validate(BuildRequest, asked, "build-table")
    if time_on and request.latency_from:
        raise UsageError(problem("--time-on", "must come without --latency-from", time_on, "choose one of them"))
    folder, timer = existing_study(runs, study), _options.timer(time_on, token_file)
    if dry_run:
        _preview(folder, request, timer, as_json)
    else:
        _build(folder, request, timer, runs, no_register, as_json)


def _build(
    folder: Path, request: BuildRequest, timer: RemoteTimer | None, runs: Path, no_register: bool, as_json: bool
) -> None:
    from whc.cli._timed_steps import timed_steps
    from whc.factory.build import build_table
    from whc.records import LadderObserver
    from whc.search.showing.report_observer import ReportObserver

    with timed_steps() as (on_step, on_left):
        observers: list[LadderObserver] = [ReportObserver()]
        if not no_register:
            from whc.registry.models import Registry

            observers.append(Registry(_options.location(), _options.gates(runs, on_step)))
        table, lines = build_table(folder, request, observers, on_step, on_left, timer)
    _options.emit(table.model_dump(mode="json", by_alias=True), as_json, _render(table, folder, lines))


def _preview(folder: Path, request: BuildRequest, timer: RemoteTimer | None, as_json: bool) -> None:
    from whc.factory.opening import open_study
    from whc.factory.plan import plan

    with _options.steps() as on_step:
        on_step("reading the data")
        made = plan(open_study(folder, request, timer), request)
    _options.emit(made.model_dump(mode="json"), as_json, _render_plan(made))


def _render_plan(plan: BuildPlan) -> Group:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    from whc.words import duration, quantity

    title = f"{plan.study}: {quantity(len(plan.candidates), 'candidate')}"
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("trial", "training again", "export and parity"):
        shown.add_column(heading, no_wrap=True)
    for candidate in plan.candidates:
        reused = candidate.trainings - candidate.to_train
        trainings = [f"{candidate.to_train} to do"] * bool(candidate.to_train) + [f"{reused} reused"] * bool(reused)
        parity = "to do" if candidate.to_compare else "reused"
        shown.add_row(candidate.trial_id, ", ".join(trainings) or "none: the recipe has 0 seeds", parity)
    timings = [_planned_timing(ladder, len(plan.candidates)) for ladder in plan.ladders]
    stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in plan.seconds.items() if seconds)
    total = f"about {duration(sum(plan.seconds.values()))} on {quantity(plan.workers, 'worker')}: {stages}"
    return Group(shown, *timings, total, "nothing was written")


def _planned_timing(ladder: PlannedLadder, candidates: int) -> str:
    from whc.words import moment, quantity

    making = f"{quantity(ladder.to_make, 'file')} to make, " if ladder.to_make else ""
    if ladder.is_timed:
        timing = f"{quantity(candidates, 'candidate')} timed together"
    elif ladder.timed_at:
        timing = f"latencies of {moment(ladder.timed_at)} are reused"
    else:
        timing = "latencies are those of --latency-from"
    return f"{ladder.prefix}_*, {ladder.kind}: {making}{timing}"


def _render(table: LadderTable, folder: Path, lines: list[str]) -> Group:
    from rich.console import Group

    from whc import tasks

    metric = table.metric
    out = f"files: {folder / 'table.md'}, table.csv, table.json, front.png, front.svg"
    score, split = table.floor_shown
    constant = tasks.of_table(table.task, table.labels).words.floor
    floor = f"{constant} scores {metric.shown(score)}" + ("" if table.test_split else f" on {split}")
    untested = [] if table.test_split else [metric.untested]
    reference = "x ref: times the reference network, which compares with other sessions and studies"
    shown = [part for ladder in table.ladders for part in _render_ladder(ladder, bool(table.others))]
    return Group(*shown, *untested, floor, reference, *artifact_lines(table), *lines, out)


def _render_ladder(table: LadderTable, is_named: bool) -> list[Table | str]:
    """A ladder, and what must be said of it alone."""
    from rich import box
    from rich.table import Table

    from whc.words import moment, quantity

    metric = table.metric
    kind = f", {table.kind_shown}" if is_named else ""
    title = f"{table.study}: {quantity(len(table.variants), 'variant')}{kind}"
    # Without edges, so that it fits 80 columns; a long name has several lines, so that no number is cut.
    narrow: dict[str, Any] = {"pad_edge": False, "show_edge": False, "collapse_padding": True}
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, **narrow)
    shown.add_column("variant", overflow="fold")
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
    timed = f"timed on {moment(table.timed_at)}; --retime times again"
    at_95 = f"at 95 % {table.variants_at_95} would be left"
    told = [f"each adds to the faster one with {100 * table.confidence:.0f} % confidence; {at_95}"]
    left_out = f"{quantity(len(table.left_out), 'candidate')} left out"
    return [shown, timed, *(told if len(table.variants) > 1 else []), *remarks, left_out]


def artifact_lines(table: LadderTable) -> list[str]:
    """A line on each other kind of file that was kept, and one on how many were dropped."""
    from whc.words import quantity

    rows = [row for ladder in table.ladders for row in ladder.variants]
    tried = [(row.name, artifact) for row in rows for artifact in row.artifacts]
    kept = [
        f"{name} also as {artifact.file_name}: {artifact.ratio_shown} times the ONNX file's latency"
        for name, artifact in tried
        if artifact.file
    ]
    dropped = len(tried) - len(kept)
    return kept + [f"{quantity(dropped, 'other file')} dropped; table.md says why"] * bool(dropped)
