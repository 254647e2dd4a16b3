"""`whc studies` and `whc studies show`."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whc.cli import _options

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

    from whc.records import StudyRecord, TrialRecord

NUMBER_PATTERN = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?")


@click.group(cls=_options.ListsByDefault)
def command() -> None:
    """List all studies (the default command), or show one in detail."""


@command.command(name="list")
@_options.runs
@_options.as_json
def list_all(runs: Path, as_json: bool) -> None:
    """Every study, the newest first."""
    rows = [_row(folder) for folder in _folders(runs)]
    _options.emit(rows, as_json, _listed(rows, runs))


@command.command
@click.argument("name", shell_complete=_options.complete_study)
@_options.runs
@_options.as_json
def show(name: str, runs: Path, as_json: bool) -> None:
    """One study, NAME: its facts, its front, and why trials did not finish."""
    from whc.records import existing_study

    folder = existing_study(runs, name)
    study, ended = _read(folder)
    from whc.records.results import front_trials, hypervolume_of

    fields = {"trial_id", "val_score", "latency", "size_bytes", "config"}
    result = {
        "study": study.study,
        "folder": str(folder),
        "facts": study.model_dump(mode="json"),
        "states": dict(Counter(record.state for record in ended)),
        "reasons": _reasons(ended),
        "front": [record.model_dump(mode="json", include=fields) for record in front_trials(ended)],
        "hypervolume": hypervolume_of(study, ended),
    }
    _options.emit(result, as_json, _shown(study, ended, result))


def _folders(runs: Path) -> list[Path]:
    """Folders of the studies that have begun, the newest first."""
    begun = sorted(runs.glob("*/study.yaml"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent for path in begun]


def _read(folder: Path) -> tuple[StudyRecord, list[TrialRecord]]:
    """A study and its ended trials; raises StudyError, in one line, when a file of it is damaged."""
    from whc.errors import StudyError, UsageError
    from whc.records import StudyRecord, trial_records

    try:
        return StudyRecord.load(folder), list(trial_records(folder))
    except UsageError as error:
        raise StudyError(str(error).splitlines()[0]) from error


def _row(folder: Path) -> dict[str, Any]:
    """A row of the list: a study in a few numbers, or the reason why it cannot be read."""
    from whc.errors import StudyError
    from whc.records.results import front_trials, hypervolume_of, scored

    try:
        study, ended = _read(folder)
    except StudyError as error:
        return {"study": folder.name, "folder": str(folder), "damaged": str(error)}
    return {
        "study": folder.name,
        "space": study.space_name,
        "states": dict(Counter(record.state for record in ended)),
        "ended": len(ended),
        "trials": study.trials,
        "metric": study.metric.model_dump(mode="json"),
        "best_val_score": max((record.val_score or 0.0 for record in scored(ended)), default=None),
        "front": len(front_trials(ended)),
        "hypervolume": hypervolume_of(study, ended),
        "reference_ms": study.reference_ms,
        "folder": str(folder),
    }


def _listed(rows: Sequence[dict[str, Any]], runs: Path) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from whc.records import Metric
    from whc.search.showing.display import counted

    if not rows:
        return Text(f"{runs}: no study yet; begin one with `whc search --space search_spaces/tiny.yaml`")
    # Only the folder of all studies is shown: each study's own folder has its name.
    about: dict[str, Any] = {"box": box.SIMPLE_HEAD, "pad_edge": False, "show_edge": False, "collapse_padding": True}
    table = Table(title=f"studies in {runs}", title_justify="left", **about)
    for heading in ("study", "space", "ended", "states", "best", "front", "hypervolume", "ref ms"):
        words = heading in ("study", "space", "states")
        table.add_column(heading, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for row in rows:
        if "damaged" in row:
            table.add_row(row["study"], "damaged")
            continue
        metric, score = Metric.model_validate(row["metric"]), row["best_val_score"]
        best = "" if score is None else metric.shown(score)
        figures = (best, str(row["front"]), f"{row['hypervolume']:.4f}", f"{row['reference_ms']:.4f}")
        ended, states = f"{row['ended']} of {row['trials']}", ", ".join(counted(row["states"]))
        table.add_row(row["study"], row["space"], ended, states, *figures)
    note = "ref ms: the reference network when idle; where it differs, compare x ref"
    return Group(table, note, *(Text(f"damaged: {row['damaged']}") for row in rows if "damaged" in row))


def _reasons(ended: Sequence[TrialRecord]) -> dict[str, dict[str, int]]:
    """By state, how often each reason ended a trial, most frequent first; differences in numbers are joined."""
    alike: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in ended:
        if record.reason:
            first = record.reason.partition("\n")[0]
            alike[record.state][NUMBER_PATTERN.sub("#", first)].append(first)
    return {
        state: {_joined(reasons): len(reasons) for reasons in sorted(by_pattern.values(), key=len, reverse=True)}
        for state, by_pattern in alike.items()
    }


def _joined(reasons: Sequence[str]) -> str:
    """One sentence for sentences that differ only in numbers; each such number becomes `lowest to highest`."""
    columns = zip(*(NUMBER_PATTERN.findall(reason) for reason in reasons), strict=True)
    ends = ((min(column, key=float), max(column, key=float)) for column in columns)
    spans = iter([low if low == high else f"{low} to {high}" for low, high in ends])
    return NUMBER_PATTERN.sub(lambda _: next(spans), reasons[0])


def _shown(study: StudyRecord, ended: list[TrialRecord], result: dict[str, Any]) -> Group:
    from rich.console import Group
    from rich.text import Text

    from whc.search.showing.display import STATE_WORDS, counted, front_table

    states = counted(result["states"])
    limits = ", ".join(f"{name} {limit:g}" for name, limit in study.limits.items()) or "none"
    floor = study.metric.shown(study.floor)
    origin = f"seed {study.seed}, whc {study.code_version}"
    facts = (
        f"{result['folder']}: {len(ended)} of {study.trials} trials ended: {', '.join(states) or 'none'}",
        f"space {study.space_name}, recipe {study.recipe}, limits: {limits}; {origin}",
        f"data {study.data_shown} ({study.data_fingerprint}); the constant predictor scores {floor}",
        f"host {study.host}; reference network {study.reference_ms:.4f} ms; hypervolume {result['hypervolume']:.4f}",
    )
    reasons = [
        f"{count} {STATE_WORDS[state]}: {reason}"
        for state, counts in result["reasons"].items()
        for reason, count in counts.items()
    ]
    front = front_table(study.metric, ended, rows=len(ended))
    return Group(*map(Text, facts), *front, *map(Text, reasons), Text(f"its page: whc report {study.study}"))
