"""`whc factory check`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group

    from whc.factory.drift import Checked


@click.command()
@click.option("--study", shell_complete=_options.complete_study, help="Name of the study.  [default: the newest]")
@_options.runs
@_options.as_json
def command(study: str | None, runs: Path, as_json: bool) -> None:
    """Score and time the ladders of a study again, and report what is no longer as its table says (exit code 1).

    Judged are the variants and the other files that they keep: each one's hash, labels and score; its latency as a
    ratio to the reference network, with 95 % confidence for all of them together and a change of more than 5 %; and the
    order of neighbours. On another host latencies are not judged.
    """
    from whc.errors import StudyError
    from whc.factory.drift import check
    from whc.latency.bench import session
    from whc.latency.timing import Protocol
    from whc.records import existing_study

    folder = existing_study(runs, study)
    # Narrower intervals than the table's own, so that these decide little.
    protocol = Protocol(min_rounds=200, max_rounds=1200, half_width=0.015)
    with _options.steps() as on_step:
        checked = check(folder, _options.trusted, partial(session, protocol=protocol), on_step)
    _options.emit(checked.model_dump(mode="json"), as_json, _shown(checked))
    if checked.drifts:
        raise StudyError("\n".join(_lines(checked)))


def _lines(checked: Checked) -> Sequence[str]:
    return [f"{checked.study}: {drift.variant}: {drift.kind}: {drift.words}" for drift in checked.drifts]


def _shown(checked: Checked) -> Group:
    from rich.console import Group
    from rich.text import Text

    from whc.words import quantity

    summary = f"{checked.study}: {quantity(checked.variants, 'variant')}, {quantity(len(checked.drifts), 'drift')}"
    return Group(*map(Text, [summary, *checked.notes]))
