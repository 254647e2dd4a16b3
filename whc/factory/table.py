"""The files of a ladder: table.json, table.csv, table.md, front.png and front.svg."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from whc import records, tasks
from whc.config import render, shipped
from whc.records import NO_TEST_SPLIT, LadderTable, TrialRecord, VariantRow, replacing

LADDER_COLOURS = ("#1f6fb4", "#2a8a4a", "#8a4ab0", "#b07a1f")
TEST_COLOUR = "#c8502d"  # of the only ladder's test scores
CSV_COLUMNS = (
    "name",
    "{metric}",
    "{metric}_low",
    "{metric}_high",
    "val_{metric}",
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "latency_ratio",
    "call_ms",
    "size_bytes",
    "ram_bytes",
    "params",
    "artifact",
    "runtime",
    "file",
    "test_split",
)


@contextmanager
def written(table: LadderTable, trials: Sequence[TrialRecord], folder: Path) -> Iterator[None]:
    """Write all files of a study's folder; they are renamed into place when the block has succeeded.

    A full disk is noticed before the block. table.json is renamed last: if it exists, the other files do too.
    """
    with ExitStack() as files:  # an error of the disk names the last file entered

        def temporary(name: str) -> Path:
            return files.enter_context(replacing(folder / name))

        records.save(table, temporary("table.json"))
        plot(table, trials, temporary("front.png"))
        plot(table, trials, temporary("front.svg"))
        temporary("table.csv").write_text(as_csv(table), encoding="utf-8")
        temporary("table.md").write_text(markdown(table), encoding="utf-8")
        yield


def markdown(table: LadderTable) -> str:
    """The ladders of a study as Markdown, each from factory/table.md.j2."""
    task = tasks.in_markdown(tasks.of_table(table.task, table.labels))
    template = shipped("factory", "table.md.j2")
    return "\n".join(render(template, table=ladder, metric=table.metric, task=task) for ladder in table.ladders)


def as_csv(table: LadderTable) -> str:
    """The ladders as CSV: a row for each variant, scores in the metric's unit under its key."""
    columns = [name.format(metric=table.metric.key) for name in CSV_COLUMNS]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_csv_row(variant, ladder) for ladder in table.ladders for variant in ladder.variants)
    return text.getvalue()


def _csv_row(variant: VariantRow, table: LadderTable) -> dict[str, Any]:
    metric, key = table.metric, table.metric.key
    ends = (variant.score_low, variant.score_high)
    if metric.is_error:
        ends = (variant.score_high, variant.score_low)
    scores = {f"{key}": variant.score, f"{key}_low": ends[0], f"{key}_high": ends[1], f"val_{key}": variant.val_score}
    values = {name: None if score is None else metric.value(score) for name, score in scores.items()}
    return {**variant.model_dump(), **values, "artifact": table.artifact, "test_split": table.test_split}


def plot(table: LadderTable, trials: Sequence[TrialRecord], path: Path) -> None:
    """Draw the study: every finished trial, and its ladders over them with their intervals and test scores.

    The suffix of `path` names the format; the same table gives the same bytes.
    """
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes, metric = figure.add_subplot(), table.metric
    finished = [trial for trial in trials if trial.state == "finished"]
    latencies = [trial.latency.ms for trial in finished if trial.latency]
    values = [metric.value(trial.val_score or 0.0) for trial in finished if trial.latency]
    axes.scatter(latencies, values, s=18, color="#b8b8b8", label=f"finished trials ({len(finished)})")
    for ladder, colour in zip(table.ladders, cycle(LADDER_COLOURS)):
        _plot_ladder(ladder, colour, axes, f"ladder {ladder.kind_shown}" if table.others else "ladder")
    _plot_floor(table, axes)
    axes.margins(y=0.1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("latency of one forward pass, ms (log)")
    axes.set_ylabel(" in ".join(filter(None, (metric.name, metric.unit))))
    axes.set_title(f"{table.study} on {table.host.split(',')[0]}")
    axes.grid(alpha=0.25, which="both")
    figure.legend(
        loc="outside lower center", ncols=2
    )  # inside the axes it would hide trials, in one row it would be too wide
    with rc_context({"svg.hashsalt": table.study}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _plot_ladder(ladder: LadderTable, colour: str, axes: Axes, named: str) -> None:
    """A ladder's validation scores with the intervals of its latencies, and its test scores as crosses."""
    metric, variants = ladder.metric, ladder.variants
    x, y = [variant.latency_ms for variant in variants], [metric.value(variant.val_score) for variant in variants]
    low = [variant.latency_ms - variant.latency_low_ms for variant in variants]
    high = [variant.latency_high_ms - variant.latency_ms for variant in variants]
    axes.step(x, y, where="post", color=colour, linewidth=1)
    axes.errorbar(x, y, xerr=[low, high], fmt="o", color=colour, capsize=3, label=f"{named}, validation {metric.name}")
    tested = {variant.latency_ms: metric.value(variant.score) for variant in variants if variant.score is not None}
    test = f"{named}, test {metric.name}" + ("" if ladder.test_split else f": {NO_TEST_SPLIT}")
    crosses = TEST_COLOUR if named == "ladder" else colour
    axes.scatter(list(tested), list(tested.values()), marker="x", color=crosses, label=test)
    for place, variant in zip(zip(x, y, strict=True), variants, strict=True):
        letter = variant.name.rpartition("_")[2].upper()
        axes.annotate(letter, place, xytext=(-3, 6), textcoords="offset points", ha="right", weight="bold")


def _plot_floor(table: LadderTable, axes: Axes) -> None:
    """A line at the constant predictor if it is within the plot, else a note in the legend."""
    score, split = table.floor_shown
    floor, (bottom, top) = table.metric.value(score), axes.get_ylim()
    label = f"constant predictor: {floor:.3f}" + ("" if table.test_split else f" on {split}")
    if bottom < floor < top or (floor > bottom and not table.metric.is_error):
        axes.axhline(floor, color="#808080", linestyle=":", linewidth=1, label=label)
    else:
        axes.plot([], [], " ", label=f"{label} ({'above' if floor >= top else 'below'} this plot)")
