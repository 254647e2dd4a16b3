"""The search of a study on its page: the best over time, what matters, all trials, and their parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from whc.pages import Cell, Column, Part, Section, SideBySide, Table, Text
from whc.pages.figures import (
    LADDER_COLOUR,
    STOPPED_COLOUR,
    TRIAL_COLOUR,
    Axis,
    LineGroup,
    Steps,
    parallel,
    shares,
    steps,
)
from whc.pareto import Point, front, hypervolume
from whc.records import Metric, StudyRecord, TrialRecord
from whc.records.results import front_trials, point_of, scored, study_reference
from whc.search.showing.display import STATE_WORDS
from whc.search.showing.front_section import best_first, short_names, shown_value
from whc.search.showing.importances import FEW_TRIALS, importances

MAX_BARS, MAX_LINES, MAX_AXES, MAX_ROWS = 12, 150, 8, 200
LOG_FROM = 5.0  # times the smallest value, from which an axis is logarithmic


def sections(study: StudyRecord, ended: Sequence[TrialRecord]) -> list[Section]:
    """The sections of the search.

    Args:
        study: the study.
        ended: its trials that are over, by id.
    """
    finished = best_first(scored(ended))
    shares_by_target = _shares(study.metric, finished)
    return [
        _progress(study, ended),
        _importances(study.metric, finished, shares_by_target),
        _parameters(study.metric, finished, shares_by_target),
        _trials(study.metric, ended),
    ]


def _progress(study: StudyRecord, ended: Sequence[TrialRecord]) -> Section:
    """The best score and the hypervolume over time, or over the number of trials where old records have no time."""
    worst, metric = study_reference(study, ended), study.metric
    timed = all(record.elapsed_s for record in ended)
    order = sorted(ended, key=lambda record: record.elapsed_s) if timed else ended
    x, volumes, best = [0.0], [0.0], list[Point]()
    best_x, best_scores = list[float](), list[float]()
    for number, record in enumerate(order, 1):
        best += [point_of(trial) for trial in scored([record])]
        best = [best[i] for i in front(best)]
        x.append(round(record.elapsed_s / 60, 3) if timed else number)
        volumes.append(float(f"{hypervolume(best, worst):.6g}"))
        if best:
            best_x.append(x[-1])
            best_scores.append(float(f"{metric.value(max(point.quality for point in best)):.6g}"))
    if not best:
        missing = Text("No trial has finished, so there is nothing to follow.", is_missing=True)
        return Section("The best over time", [missing])
    axis = "minutes of searching" if timed else "trials that ended"
    words = (
        f"The best validation {metric.name} so far, and the hypervolume: the area between the front and "
        f"{metric.shown(worst.quality)} at {worst.cost:.4g} ms, latency as its log; {volumes[-1]:.4f} in the end."
    )
    figures = [
        steps(Steps(*_changes(best_x, best_scores), axis, f"best validation {metric.name}")),
        steps(Steps(*_changes(x, volumes), axis, "hypervolume")),
    ]
    return Section("The best over time", [Text(words), SideBySide(figures)])


def _changes(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """The first and last points of a line in steps, and those where it changes."""
    kept = [i for i in range(len(x)) if i in (0, len(x) - 1) or y[i] != y[i - 1]]
    return [x[i] for i in kept], [y[i] for i in kept]


def _shares(metric: Metric, finished: Sequence[TrialRecord]) -> dict[str, dict[str, tuple[float, float]] | str]:
    """What each parameter explains of the score and of the latency; or why that cannot be said."""
    names = short_names(key for record in finished for key in record.drawn)
    drawn = [{names[key]: value for key, value in record.drawn.items()} for record in finished]
    return {
        f"validation {metric.name}": importances(drawn, [point_of(record).quality for record in finished]),
        "log latency": importances(drawn, [math.log(point_of(record).cost) for record in finished]),
    }


def _importances(
    metric: Metric, finished: Sequence[TrialRecord], found: dict[str, dict[str, tuple[float, float]] | str]
) -> Section:
    words = (
        "How much of the spread between finished trials each parameter explains, as a random forest sees it; the thin "
        "lines show how much its trees, each grown on a resample of the trials, differ."
    )
    if len(finished) < FEW_TRIALS:
        words += f" With {len(finished)} finished trials this is a first hint."
    drawn: list[Part] = []
    for target, result in found.items():
        if isinstance(result, str):
            drawn.append(Text(f"For {target}, {result}", is_missing=True))
        else:
            drawn.append(shares(dict(list(result.items())[:MAX_BARS]), f"share in {target}"))
    return Section("What matters", [Text(words), SideBySide(drawn)])


def _parameters(
    metric: Metric, finished: Sequence[TrialRecord], found: dict[str, dict[str, tuple[float, float]] | str]
) -> Section:
    """Parallel coordinates of the parameters that matter, the trials of the front last, so that they lie on top."""
    shown = finished[:MAX_LINES]
    names = short_names(key for record in finished for key in record.drawn)
    drawn = [{names[key]: value for key, value in record.drawn.items()} for record in shown]
    chosen = _most_important(found) or sorted({name for each in drawn for name in each})[:MAX_AXES]
    if len(shown) < 2 or not chosen:
        counts = f"there are {len(shown)} and {len(chosen)}"
        missing = Text(f"Needs two finished trials or more and a drawn parameter; {counts}.", is_missing=True)
        return Section("Parameters", [missing])
    axes = [_axis(name, [_axis_value(each.get(name)) for each in drawn]) for name in chosen]
    axes += [
        Axis(f"val {metric.name}", [metric.value(point_of(record).quality) for record in shown]),
        Axis("latency ms", [point_of(record).cost for record in shown], is_log=True),
    ]
    on_front = {record.trial_id for record in front_trials(shown)}
    front_places = [i for i, record in enumerate(shown) if record.trial_id in on_front]
    others = [i for i in range(len(shown)) if i not in front_places]
    half = (len(others) + 1) // 2  # best first
    groups = [
        LineGroup("other half", others[half:], STOPPED_COLOUR, 0.35),
        LineGroup("better half by rank", others[:half], TRIAL_COLOUR, 0.55),
        LineGroup("front", front_places, LADDER_COLOUR, 0.95),
    ]
    words = (
        f"Each line is a finished trial, of more than {MAX_LINES} the best; the {len(chosen)} parameters that explain "
        "most come first. Click a name below to hide its lines, and a line for its learning curve."
    )
    return Section("Parameters", [Text(words), parallel(axes, groups, [record.trial_id for record in shown])])


def _most_important(found: dict[str, dict[str, tuple[float, float]] | str]) -> list[str]:
    """Parameters by their greater share of the two, the greatest first."""
    best: dict[str, float] = {}
    for result in found.values():
        for name, (share, _) in result.items() if isinstance(result, dict) else ():
            best[name] = max(best.get(name, 0.0), share)
    return sorted(best, key=lambda name: -best[name])[:MAX_AXES]


def _axis(name: str, values: Sequence[float | str | None]) -> Axis:
    """An axis; it is logarithmic where a small value would else be on top of many others, as of a learning rate."""
    numbers = [value for value in values if isinstance(value, float) and value > 0]
    return Axis(name, values, bool(numbers) and max(numbers) >= LOG_FROM * min(numbers))


def _axis_value(value: object) -> float | str | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return str(value)


def _trials(metric: Metric, ended: Sequence[TrialRecord]) -> Section:
    """A table of the trials: the best by rank, then those that did not finish."""
    if not ended:
        return Section("Trials", [Text("No trial has ended.", is_missing=True)])
    finished = best_first(scored(ended))
    ids = {record.trial_id for record in finished}
    order = [*finished, *(record for record in ended if record.trial_id not in ids)][:MAX_ROWS]
    names = short_names(key for record in order for key in record.drawn)
    columns = [Column("trial"), Column("state")]
    numbers = (f"val {metric.name}", "ms", "x ref", "KB", "weights", "epochs", "minute")
    columns += [Column(title, is_number=True) for title in numbers]
    columns += [Column(name) for name in names.values()]
    columns += [Column("why it ended")] * any(record.reason for record in order)
    rows = [_row(metric, record, list(names), len(columns)) for record in order]
    words = "The best by rank come first; click a title to sort, a row to see its learning curve at the front."
    if len(ended) > MAX_ROWS:
        words += f" Of {len(ended)} trials these are the first {MAX_ROWS}."
    return Section("Trials", [Text(words), Table(columns, rows, True, [record.trial_id for record in order])])


def _row(metric: Metric, record: TrialRecord, keys: Sequence[str], length: int) -> list[str | Cell]:
    latency = record.latency
    row: list[str | Cell] = [
        record.trial_id,
        STATE_WORDS.get(record.state, record.state),
        _number(None if record.val_score is None else metric.value(record.val_score), f".{metric.digits}f"),
        _number(latency.ms if latency else None, ".4f"),
        _number(latency.ratio if latency else None, ".3f"),
        _number(record.size_bytes and record.size_bytes / 1000, ".1f"),
        _number(record.params, ",d"),
        _number(len(record.curve), "d"),
        _number(record.elapsed_s / 60, ".1f"),
    ]
    row += [_drawn(record.drawn.get(key)) for key in keys]
    return [*row, record.reason.partition("\n")[0]][:length]


def _number(value: float | None, form: str) -> Cell:
    return Cell("") if value is None else Cell(format(value, form), float(value))


def _drawn(value: object) -> Cell:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell("" if value is None else shown_value(value), float(value) if is_number else None)  # type: ignore[arg-type]
