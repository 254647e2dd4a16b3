"""`whc search`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.table import Table

    from whc.search.running.run import Request, SearchOutcome
    from whc.search.running.study import SearchFile
    from whc.search.showing.preview import Cost, Preview

EXAMPLE = "give a search file such as search_spaces/tiny.yaml"


@click.command()
@_options.file(
    "--space",
    shell_complete=_options.complete_shipped("search_spaces"),
    help="Search file: a path, or the name of one in search_spaces/.",
)
@_options.file(
    "--data",
    multiple=True,
    help="Parquet file of labelled crops, or a folder of shards (repeatable).  [default: as in the search file]",
)
@click.option("--study", shell_complete=_options.complete_study, help="Name of the study.  [default: <space>-<number>]")
@click.option("--trials", type=click.IntRange(1, 1_000_000), help="Trials in all.  [default: the search file's]")
@click.option("--minutes", type=_options.FiniteRange(min=0, min_open=True), help="Minutes of searching in all.")
@click.option("--resume", is_flag=True, help="Go on with a study that was interrupted, or with --trials that ended.")
@click.option(
    "--warm-start",
    multiple=True,
    metavar="STUDY",
    shell_complete=_options.complete_study,
    help="Learn from an earlier study first (repeatable).",
)
@click.option("--address", metavar="HOST:PORT", help="Work on a running Ray cluster (auto: the one of this machine).")
@click.option("--storage", metavar="URI", help="Where workers on other machines leave trials: s3://bucket/folder ...")
@_options.time_on
@_options.token_file
@_options.file("--replay", help="Play the search on a trials.parquet, in simulated time: nothing trains.")
@click.option("--dry-run", is_flag=True, help="Tell what would be drawn, and with data what it would take.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of search files, for editors.")
@_options.runs
@_options.tracking_uri
@_options.as_json
def command(
    space: Path | None,
    data: tuple[Path, ...],
    replay: Path | None,
    dry_run: bool,
    schema: bool,
    runs: Path,
    as_json: bool,
    **asked: Any,
) -> None:
    """Search for networks that are both accurate and fast."""
    # Before NumPy loads: the sampler's small matrices gain nothing from threads that wait for the workers' cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if schema:
        from whc.search.running.schema import text

        click.echo(text(), nl=False)
        return
    if dry_run:
        _preview(space, data, asked["trials"], as_json)
        return
    if replay:
        _replay(replay, space, asked["trials"], as_json)
        return
    request = _request(space, data, runs, **asked)
    from whc.registry.studies import StudyLog
    from whc.search.running.run import search
    from whc.search.showing.display import Display
    from whc.search.showing.report_observer import ReportObserver

    console, log = _options.messages(), StudyLog(_options.location())
    with _options.progress(console, "decoding") as told, Display(console) as display:
        outcome = search(request, [display, ReportObserver(), log], console, told)
    _tell(outcome, as_json)
    if not outcome.complete:
        console.print("stopped; what had ended is kept")
        raise KeyboardInterrupt


def _request(
    space: Path | None,
    data: tuple[Path, ...],
    runs: Path,
    *,
    study: str | None,
    resume: bool,
    time_on: str | None,
    token_file: Path | None,
    **asked: Any,
) -> Request:
    from whc.config import shipped
    from whc.errors import UsageError, problem
    from whc.records import existing_study
    from whc.search.running import study as studies
    from whc.search.running.run import Request

    settings = studies.read(shipped("search_spaces", str(space)))[0] if space else None
    asked["timer"] = _options.timer(time_on, token_file)
    if resume:
        name = study or existing_study(runs, None).name
        return Request(name, runs, settings, data, resume, **asked)
    if settings is None:
        raise UsageError(problem("--space", "required", None, EXAMPLE))
    data = data or tuple(map(Path, settings.data))
    if not data:
        raise UsageError(problem("--data", f"required, as {space} names no data", None, "give a Parquet file"))
    name = study or studies.new_name(runs, settings.name)
    return Request(name, runs, settings, data, resume, min_over_floor=_min_over_floor(settings), **asked)


def _min_over_floor(settings: SearchFile) -> float:
    """What the recipe asks of every variant: the sampler takes less for useless.

    Raises:
        UsageError: the recipe has errors, or asks for an artifact that cannot be made here.
    """
    from whc.config import shipped
    from whc.factory.recipe import read

    recipe = read(shipped("factory", settings.recipe))
    recipe.check_installed()  # now, not after the search
    return recipe.min_over_floor


def _tell(outcome: SearchOutcome, as_json: bool) -> None:
    from collections import Counter

    from rich.console import Group

    from whc.records.results import front_trials
    from whc.search.showing.display import front_table

    counts = Counter(record.state for record in outcome.records)
    shown = {"trial_id", "val_score", "latency", "config"}
    result = {
        "study": outcome.study.study,
        "folder": str(outcome.folder),
        "complete": outcome.complete,
        "states": dict(counts),
        "front": [record.model_dump(mode="json", include=shown) for record in front_trials(outcome.records)],
    }
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    command = "factory build-table" if outcome.complete else "search --resume"
    timer = outcome.study.timer
    timed = f" --time-on {timer.address}" if timer and timer.address else ""
    next_step = f"next: whc {command} --study {outcome.study.study}{timed}"
    page = f"page: {outcome.folder / 'report.html'}"
    lines = [f"{outcome.folder}: {states or 'no trial has ended'}", page, next_step]
    floor, metric = outcome.study.floor, outcome.study.metric
    idle = sum(record.state == "finished" and (record.val_score or 0.0) <= floor for record in outcome.records)
    if idle:
        side = "below" if metric.is_error else "above"
        rule = f"val_{metric.key} is not {side} that of one answer for all, {metric.number(floor)}"
        lines.insert(1, f"{idle} of the finished learnt nothing: {rule}")
    _options.emit(result, as_json, Group(*front_table(metric, outcome.records), *lines))


def _replay(recorded: Path, space: Path | None, trials: int | None, as_json: bool) -> None:
    from collections import Counter

    from rich.console import Group

    from whc.config import shipped
    from whc.errors import UsageError, problem
    from whc.records.results import hypervolume_of
    from whc.search.running import study as studies
    from whc.search.running.replay import TrainingTable, replay
    from whc.search.showing.display import front_table

    if space is None:
        raise UsageError(problem("--space", "required", None, EXAMPLE))
    settings, tree = studies.read(shipped("search_spaces", str(space)))
    table = TrainingTable(recorded, tree)
    facts = table.study.model_dump(include={"data_fingerprint", "reference_ms", "host", "floor", "metric", "labels"})
    facts["min_over_floor"] = _min_over_floor(settings)
    study = studies.begin(settings, settings.name, table.study.data, facts)
    study = study.model_copy(update={"trials": trials or study.trials})
    played = replay(study, tree, table)
    states = Counter(one.state for one in played)
    minutes, volume = max(one.elapsed_s for one in played) / 60, hypervolume_of(study, played)
    told = f"{minutes:.1f} simulated minutes: {', '.join(f'{n} {state}' for state, n in states.most_common())}"
    result = {"minutes": minutes, "states": dict(states), "hypervolume": volume, "recorded": len(table)}
    _options.emit(result, as_json, Group(*front_table(study.metric, played), f"{told}; hypervolume {volume:.4f}"))


def _preview(space: Path | None, data: tuple[Path, ...], trials: int | None, as_json: bool) -> None:
    from rich.console import Group

    from whc import tasks
    from whc.config import shipped
    from whc.data.dataset import load
    from whc.errors import UsageError, problem
    from whc.search.running import study as studies
    from whc.search.showing import preview
    from whc.search.space.space import image_sizes, task_of

    if space is None:
        raise UsageError(problem("--space", "required", None, EXAMPLE))
    path = shipped("search_spaces", str(space))
    settings, tree = studies.read(path)
    # Data that the file names may be still to come; data that was asked for may not.
    data = data or tuple(path for path in map(Path, settings.data) if path.is_file())
    console, corpus = _options.messages(), None
    if data:
        with _options.progress(console, "decoding") as told:
            corpus = load(data, image_sizes(tree), tasks.kind(task_of(tree).name), told)
    found = preview.preview(settings, tree, str(path), corpus, trials)
    samples = [f"  {preview.describe(sample)}" for sample in found.samples]
    limits = [f"{count} of {found.counted} drawn are over the limit on {name}" for name, count in found.over.items()]
    drawn = f"and {found.fixed} fixed; {len(samples)} of what could be drawn:"
    _options.emit(found.as_json(), as_json, Group(_parameters(found), drawn, *samples, *limits, _cost(found.cost)))


def _parameters(found: Preview) -> Table:
    from rich.table import Table

    from whc.search.space.ranges import spell
    from whc.words import quantity

    title = f"{found.name}: {quantity(len(found.parameters), 'parameter')}"
    table = Table(title=title, title_justify="left")
    for heading in ("parameter", "drawn from", "when"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "parameter")
    for one in found.parameters:
        assert one.distribution  # noqa: S101 (a preview's are drawn)
        table.add_row(one.key, spell(one.distribution), one.when or "always")
    return table


def _cost(cost: Cost | None) -> str:
    if cost is None:
        return "what it would take can be told with --data"
    (slow, fast), (short, long) = cost.images_per_second, cost.trial_seconds
    minutes = f"{cost.minutes:.1f}" if cost.minutes < 10 else f"{cost.minutes:.0f}"
    return (
        f"at most about {minutes} minutes of training: {cost.trials} trials of {short:.0f} to {long:.0f} s, "
        f"{cost.workers} at a time, up to {cost.rows} images an epoch at {slow:.0f} to {fast:.0f} images/s "
        f"({cost.timed} networks, a thread each); exporting and timing are left out, trials that end early are not"
    )
