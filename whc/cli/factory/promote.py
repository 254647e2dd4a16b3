"""`whc factory promote`."""

from __future__ import annotations

from pathlib import Path

import click

from whc.cli import _options


@click.command()
@click.option("--study", shell_complete=_options.complete_study, help="Name of the study.  [default: the newest]")
@click.option("--force", is_flag=True, help="Promote the ladder without asking the gates.")
@click.option("--reason", help="Why the gates do not count; kept as a tag of each version.")
@_options.runs
@_options.tracking_uri
@_options.as_json
def command(study: str | None, force: bool, reason: str | None, runs: Path, as_json: bool) -> None:
    """Make each ladder of a study the champions of its prefix, as a whole or not at all.

    Two gates decide. Parity: each file scores on validation what its network scored. No loss: no champion is
    distinguishably better than the new variant to take in its place, on rows that it was not trained on, timed in one
    session. The first ladder of a prefix has only the first gate.
    """
    from whc import records
    from whc.errors import RegistryError, UsageError, problem
    from whc.factory.measuring import TABLE_FILE
    from whc.records import LadderTable, existing_study
    from whc.registry.models import Registry

    if force != bool(reason):
        got = "--reason alone" if reason else "--force alone"
        raise UsageError(problem("--force and --reason", "must come together", got, "say why with --reason"))
    folder = existing_study(runs, study)
    table = records.load(LadderTable, folder / TABLE_FILE, "build it with `whc factory build-table`")
    with _options.steps() as on_step:
        gates = {} if force else {"gate": _options.gates(runs, on_step)}
        lines, refusal = Registry(_options.location(), reason=reason or "", **gates).promote(table, folder)
    result = {"study": table.study, "promoted": not refusal, "lines": lines, "refusal": refusal}
    _options.emit(result, as_json, "\n".join(lines))
    if refusal:
        raise RegistryError("\n".join(f"{table.study}: {line}" for line in refusal.splitlines()))
