"""The front of a study: all trials by latency and validation score, the ladder among them, and a trial's curve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

from whc.pages import CurvePanel, Part, Section, Text
from whc.pages.figures import (
    CANDIDATE_COLOUR,
    LADDER_COLOURS,
    STOPPED_COLOUR,
    TRIAL_COLOUR,
    Dot,
    Dots,
)
from whc.pages.figures import (
    front as front_figure,
)
from whc.pareto import ranks
from whc.records import CurvePoint, LadderDetails, LadderTable, Metric, StudyRecord, TrialRecord, VariantRow
from whc.records.results import front_trials, point_of, scored
from whc.search.space.summary import summary

MAX_DOTS = 500  # of a kind, as a page must stay small
MAX_CURVES, MAX_CURVE_POINTS = 250, 60
WORDS_A_LINE = 4


def front(
    study: StudyRecord, ended: Sequence[TrialRecord], table: LadderTable | None, details: LadderDetails | None
) -> Section:
    """The section of the front."""
    metric = study.metric
    finished, stopped = best_first(scored(ended)), scored(ended, "stopped")
    if not finished + stopped:
        return Section("Front", [Text("No trial has been trained, so there is nothing to compare.", is_missing=True)])
    best = front_trials(finished)
    others = [record for record in finished if record not in best]
    ladders = _ladders(table, details) if table else []
    ladder = [dot for each in ladders for dot in each.dots]
    left_out = _left_out_dots(table) if table else []
    named = f"validation {metric.name}"
    groups = [
        Dots("stopped early", _dots(metric, stopped), STOPPED_COLOUR, "x-thin-open"),
        Dots("finished", _dots(metric, others), TRIAL_COLOUR, "circle-open"),
        Dots("front of the search", _dots(metric, best), TRIAL_COLOUR, "circle", is_line=not ladder),
        Dots("left out", left_out, CANDIDATE_COLOUR, "diamond-open"),
        *ladders,
    ]
    y_title = f"{named}, {metric.unit}" if metric.unit else named
    fitted = [*_dots(metric, best), *left_out, *ladder] or _dots(metric, stopped)
    words = (
        f"Each mark is a trial, by latency and {named}. Point at a mark for its configuration, click it for its "
        "learning curve. The axes show the front; a double click shows everything."
    )
    if stopped:
        words += f" A stopped trial has the {metric.name} that it had reached."
    if max(len(stopped), len(others)) > MAX_DOTS:
        words += f" Of each kind the first {MAX_DOTS} are shown, the best by rank."
    if ladder:
        words += " Bars at the ladder are 95 % intervals of latency and of the validation score."
    parts: list[Part] = [Text(words), front_figure(groups, y_title, fitted, metric.is_error)]
    curves = _curves(metric, [*finished, *stopped][:MAX_CURVES], table, details)
    first = next((dot.trial_id for dot in reversed([*_dots(metric, best), *ladder]) if dot.trial_id in curves), "")
    parts.append(
        CurvePanel("Click a mark, or a row of the table of trials, to see how it learnt.", y_title, first, curves)
    )
    return Section("Front", parts)


def best_first(finished: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Finished trials by rank: the front, then what would be the front without it, and so on."""
    rank = ranks([point_of(record) for record in finished])
    return [finished[i] for i in sorted(range(len(finished)), key=rank.__getitem__)]


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """For each dotted key its shortest ending that it shares with no other."""
    listed = sorted(set(keys))
    endings = {key: [key.split(".", cut)[-1] for cut in reversed(range(key.count(".") + 1))] for key in listed}
    all_endings = [ending for each in endings.values() for ending in each]
    return {key: next((end for end in each if all_endings.count(end) == 1), key) for key, each in endings.items()}


def shown_value(value: object) -> str:
    """A drawn value in a few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _dots(metric: Metric, trials: Sequence[TrialRecord]) -> list[Dot]:
    names = short_names(key for trial in trials for key in trial.drawn)
    return [
        Dot(trial.trial_id, point_of(trial).cost, metric.value(point_of(trial).quality), _words(metric, trial, names))
        for trial in trials[:MAX_DOTS]
    ]


def _words(metric: Metric, trial: TrialRecord, names: Mapping[str, str]) -> str:
    """Lines of a hover: the trial, its network, its numbers, and what it drew."""
    at = point_of(trial)
    size = f", {trial.size_bytes / 1000:.0f} KB" if trial.size_bytes else ""
    epochs = f"{len(trial.curve)} epochs"
    drawn = [f"{names[key]} {shown_value(value)}" for key, value in sorted(trial.drawn.items())]
    lines = [", ".join(drawn[i : i + WORDS_A_LINE]) for i in range(0, len(drawn), WORDS_A_LINE)]
    numbers = f"{metric.shown(at.quality)}, {at.cost:.4f} ms{size}, {epochs}"
    return "\n".join([f"trial {trial.trial_id}, {trial.state}: {summary(trial.config)}", numbers, *lines])


def _left_out_dots(table: LadderTable) -> list[Dot]:
    metric = table.metric
    return [
        Dot(
            row.trial_id,
            row.latency_ms,
            metric.value(row.val_score),
            f"trial {row.trial_id}, left out\n{metric.shown(row.val_score)}, {row.latency_ms:.4f} ms\n"
            + "\n".join(_wrapped(row.reason)),
        )
        for row in table.left_out
    ]


def _ladders(table: LadderTable, details: LadderDetails | None) -> list[Dots]:
    """The variants of each ladder."""
    return [
        Dots(
            f"ladder {ladder.kind_shown}" if table.others else "ladder",
            [_ladder_dot(table.metric, row, details) for row in ladder.variants],
            colour,
            "circle",
            10,
            is_line=True,
        )
        for ladder, colour in zip(table.ladders, cycle(LADDER_COLOURS))
    ]


def _ladder_dot(metric: Metric, row: VariantRow, details: LadderDetails | None) -> Dot:
    detail = details.variants.get(row.name) if details else None
    value = metric.value(row.val_score)
    ends = sorted((metric.value(detail.val_low), metric.value(detail.val_high))) if detail else (value, value)
    return Dot(
        row.name,
        row.latency_ms,
        value,
        f"{row.name}, trial {row.trial_id}: {summary(row.config)}\n"
        f"validation {metric.shown(row.val_score)}, {row.latency_ms:.4f} ms, {row.size_bytes / 1000:.0f} KB",
        (max(0.0, row.latency_ms - row.latency_low_ms), max(0.0, row.latency_high_ms - row.latency_ms)),
        (max(0.0, value - ends[0]), max(0.0, ends[1] - value)),
        row.name.rpartition("_")[2].upper(),
    )


def _curves(
    metric: Metric, trials: Sequence[TrialRecord], table: LadderTable | None, details: LadderDetails | None
) -> dict[str, tuple[str, Sequence[tuple[float, float]]]]:
    """Of each trial, and of each variant by its name, the words and points of its curve."""
    names = short_names(key for trial in trials for key in trial.drawn)
    curves: dict[str, tuple[str, Sequence[tuple[float, float]]]] = {
        trial.trial_id: (_words(metric, trial, names).replace("\n", "; "), points(metric, trial.curve))
        for trial in trials
        if trial.curve
    }
    for row in [row for ladder in table.ladders for row in ladder.variants] if table else ():
        detail = details.variants.get(row.name) if details else None
        curve = detail.curves.get(str(detail.seed)) if detail else None
        if curve:
            words = f"{row.name}: {summary(row.config)}, the training that became this variant"
            curves[row.name] = (words, points(metric, curve))
    return curves


def points(metric: Metric, curve: Sequence[CurvePoint]) -> list[tuple[float, float]]:
    """A curve as people read it, epochs and values; of a long one every few epochs and the last."""
    every = -(-len(curve) // MAX_CURVE_POINTS)
    kept = [*curve[:-1][::every], *curve[-1:]] if curve else []
    return [(point.epoch, float(f"{metric.value(point.val_score):.5g}")) for point in kept]


def _wrapped(text: str) -> list[str]:
    from textwrap import wrap

    return wrap(text, 70)
