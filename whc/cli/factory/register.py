"""`whc factory register`."""

from __future__ import annotations

from pathlib import Path

import click

from whc.cli import _options


@click.command()
@click.option("--study", shell_complete=_options.complete_study, help="Name of the study.  [default: the newest]")
@_options.runs
@_options.tracking_uri
@_options.as_json
def command(study: str | None, runs: Path, as_json: bool) -> None:
    """Complete in the registry what `search` and `build-table` could not write there, as when its server was down.

    The search is logged; the ladder, if it is built, is registered, and promoted if its gates let it. What the registry
    has already stays as it is.
    """
    from whc import records
    from whc.factory.measuring import TABLE_FILE
    from whc.records import LadderTable, existing_study
    from whc.registry.models import Registry

    folder = existing_study(runs, study)
    with records.locked(folder), _options.steps() as on_step:
        registry = Registry(_options.location(), _options.gates(runs, on_step))
        on_step("logging the search")
        logged = registry.log_search(folder)
        lines: list[str] = []
        refusal = ""
        if (folder / TABLE_FILE).is_file():
            on_step("registering the ladder")
            table = records.load(LadderTable, folder / TABLE_FILE, "build it with `whc factory build-table`")
            lines, refusal = registry.promote(table, folder)
    shown = [line for line in (logged, *lines, refusal) if line] or [f"{folder.name}: its search is logged already"]
    result = {"study": folder.name, "logged": logged, "promoted": bool(lines) and not refusal, "lines": lines}
    _options.emit({**result, "refusal": refusal}, as_json, "\n".join(shown))
