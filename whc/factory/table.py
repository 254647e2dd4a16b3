"""The ladder as people and programs read it: table.json, table.csv, table.md and front.png."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from whc import plugins, records
from whc.config import render, shipped
from whc.records import NO_TEST_SPLIT, UNTESTED, LadderTable, TrialRecord, replacing, shown_test_score

CSV_COLUMNS = (
    "name",
    "f1",
    "f1_low",
    "f1_high",
    "val_f1",
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "latency_ratio",
    "size_bytes",
    "params",
    "runtime",
    "onnx",
    "test_split",
)


@contextmanager
def written(table: LadderTable, trials: Sequence[TrialRecord], folder: Path) -> Iterator[None]:
    """Write all four files into a study's folder, where they are put in place when the block has succeeded.

    By then nothing can be refused for want of room. table.json comes last: where it is, the others are too.
    """
    with ExitStack() as files:  # entered one by one: what is refused names the last one

        def begun(name: str) -> Path:
            return files.enter_context(replacing(folder / name))

        records.save(table, begun("table.json"))
        plot(table, trials, begun("front.png"))
        begun("table.csv").write_text(as_csv(table), encoding="utf-8")
        begun("table.md").write_text(markdown(table), encoding="utf-8")
        yield


def markdown(table: LadderTable) -> str:
    """The table as Markdown, from factory/table.md.j2."""
    positive = plugins.load("tasks", table.task).positive_label(table.labels)
    words = {"untested": UNTESTED, "shown_test_score": shown_test_score}
    return render(shipped("factory", "table.md.j2"), table=table, positive=positive, **words)


def as_csv(table: LadderTable) -> str:
    """The table as CSV, one variant a row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**variant.model_dump(), "test_split": table.test_split} for variant in table.variants)
    return text.getvalue()


def plot(table: LadderTable, trials: Sequence[TrialRecord], path: Path) -> None:
    """Draw the study: every finished trial, and the ladder over them with its intervals and test scores."""
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    finished = [trial for trial in trials if trial.state == "finished"]
    latencies = [trial.latency.ms for trial in finished if trial.latency]
    scores = [trial.val_f1 or 0.0 for trial in finished if trial.latency]
    axes.scatter(latencies, scores, s=18, color="#b8b8b8", label=f"finished trials ({len(finished)})")
    variants = table.variants
    x, y = [variant.latency_ms for variant in variants], [variant.val_f1 for variant in variants]
    low = [variant.latency_ms - variant.latency_low_ms for variant in variants]
    high = [variant.latency_high_ms - variant.latency_ms for variant in variants]
    axes.step(x, y, where="post", color="#1f6fb4", linewidth=1)
    axes.errorbar(x, y, xerr=[low, high], fmt="o", color="#1f6fb4", capsize=3, label="ladder, validation F1")
    tested = {variant.latency_ms: variant.f1 for variant in variants if variant.f1 is not None}
    test = "ladder, test F1" if table.test_split else f"ladder, test F1: {NO_TEST_SPLIT}"
    axes.scatter(list(tested), list(tested.values()), marker="x", color="#c8502d", label=test)
    for variant in variants:
        letter = variant.name.rpartition("_")[2].upper()
        place = (variant.latency_ms, variant.val_f1)
        axes.annotate(letter, place, xytext=(-3, 6), textcoords="offset points", ha="right", weight="bold")
    _plot_constant(table, axes)
    axes.margins(y=0.1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("latency of one forward pass, ms (log)")
    axes.set_ylabel("F1")
    axes.set_title(f"{table.study} on {table.host.split(',')[0]}")
    axes.grid(alpha=0.25, which="both")
    figure.legend(loc="outside lower center", ncols=2)  # within, it would hide trials; in one row, leave the picture
    figure.savefig(path)


def _plot_constant(table: LadderTable, axes: Axes) -> None:
    f1, split = table.constant_shown
    shown = f"constant predictor: {f1:.3f}" + ("" if table.test_split else f" on {split}")
    if f1 > axes.get_ylim()[0]:
        axes.axhline(f1, color="#808080", linestyle=":", linewidth=1, label=shown)
    else:
        axes.plot([], [], " ", label=f"{shown} (below this plot)")
