"""`whc search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from whc.cli import _options

if TYPE_CHECKING:
    from whc.search.run import Outcome, Request


@click.command()
@_options.file("--space", help="Search file: a path, or the name of one in search_spaces/.")
@_options.file("--data", help="Parquet file of labelled crops.  [default: the one that the search file names]")
@click.option("--study", help="Name of the study.  [default: <space>-<number>]")
@click.option("--trials", type=click.IntRange(min=1), help="Trials in all.  [default: the search file's]")
@click.option("--resume", is_flag=True, help="Go on with a study that was interrupted.")
@_options.runs
@_options.as_json
def command(
    space: Path | None,
    data: Path | None,
    study: str | None,
    trials: int | None,
    resume: bool,
    runs: Path,
    as_json: bool,
) -> None:
    """Search for networks that are both accurate and fast."""
    request = _request(space, data, study, trials, resume, runs)
    from whc.registry.location import read_location
    from whc.registry.studies import StudyLog
    from whc.search.run import search

    console = _options.messages()
    with _options.progress(console, "decoding") as told:
        outcome = search(request, [StudyLog(read_location())], console, told)
    _tell(outcome, as_json)
    if not outcome.complete:
        console.print("interrupted; what had ended is kept")
        raise click.exceptions.Exit(130)


def _request(
    space: Path | None, data: Path | None, study: str | None, trials: int | None, resume: bool, runs: Path
) -> Request:
    from whc.config import shipped
    from whc.errors import UsageError, problem
    from whc.records import existing_study
    from whc.search import study as studies
    from whc.search.run import Request

    settings = studies.read(shipped("search_spaces", str(space)))[0] if space else None
    if resume:
        name = study or existing_study(runs, None).name
        return Request(name, runs, settings, data, resume, trials)
    if settings is None:
        raise UsageError(problem("--space", "required", None, "give a search file such as search_spaces/tiny.yaml"))
    data = data or (Path(settings.data) if settings.data else None)
    if data is None:
        raise UsageError(problem("--data", f"required, as {space} names no data", None, "give a Parquet file"))
    return Request(study or studies.new_name(runs, settings.name), runs, settings, data, resume, trials)


def _tell(outcome: Outcome, as_json: bool) -> None:
    from collections import Counter

    from rich.console import Group

    from whc.pareto import Point, front
    from whc.search.display import front_table

    counts = Counter(record.state for record in outcome.records)
    finished = [record for record in outcome.records if record.state == "finished" and record.latency]
    best = front([Point(record.val_f1 or 0.0, record.latency.ms) for record in finished if record.latency])
    result = {
        "study": outcome.study.study,
        "folder": str(outcome.folder),
        "complete": outcome.complete,
        "states": dict(counts),
        "front": [
            finished[i].model_dump(mode="json", include={"trial_id", "val_f1", "latency", "config"}) for i in best
        ],
    }
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    command = "factory build-table" if outcome.complete else "search --resume"
    next_step = f"next: whc {command} --study {outcome.study.study}"
    lines = (f"{outcome.folder}: {states or 'no trial has ended'}", next_step)
    _options.emit(result, as_json, Group(*front_table(outcome.records), *lines))
