"""What a search shows while it runs: counts, the front so far, time left; plain lines when not on a terminal."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from whc.records import Metric, SearchObserver, StudyRecord, TrialRecord
from whc.records.results import front_trials, hypervolume_of, point_of, scored
from whc.search.showing.time_left import TimeLeft
from whc.search.space.summary import summary
from whc.words import duration, quantity

STATE_WORDS = {"finished": "finished", "stopped": "stopped", "infeasible": "rejected", "failed": "failed"}
FRONT_ROWS = 8
PLOT_COLUMNS, PLOT_ROWS, LEAST_PLOT_ROWS = 50, 10, 4
ESTIMATE_EVERY_S = 2.0
ESTIMATE_SHARE = 0.02  # of the driver's time, at most, goes into estimating how long a search still takes


def counted(states: Mapping[str, int]) -> list[str]:
    """How many trials ended in each state, as in `20 finished`; states in which none did are left out."""
    return [f"{states[state]} {word}" for state, word in STATE_WORDS.items() if states.get(state)]


class Display(SearchObserver):
    """A live view on a terminal, one line a trial elsewhere.

    Shown from the start of a study to its end; use as a context manager around the search, which may end otherwise.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ended: list[TrialRecord] = []
        self._running: dict[str, str] = {}
        self._timer_lost = ""
        self._earlier_s = 0.0
        self._left_s: float | None = None
        self._estimated = self._next_estimate = -math.inf
        self._progress = Progress(
            TextColumn("{task.fields[study]}", style="bold", markup=False),
            BarColumn(),
            TextColumn("{task.fields[ended]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
        )
        self._lock = threading.Lock()  # a live view is drawn by a thread of its own
        self._live: Live | None = None
        self._expected: float | None = None

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def _searched_s(self) -> float:
        """Seconds of searching so far, pauses of the whole search left out."""
        return self._earlier_s + time.monotonic() - self._start

    def study_started(self, study: StudyRecord, earlier: Sequence[TrialRecord]) -> None:
        """Begin to show a study, with the trials that had ended before this run."""
        self._study = study
        self._ended += earlier
        self._earlier_s = max((record.elapsed_s for record in earlier), default=0.0)
        self._start = time.monotonic()
        self._time_left = TimeLeft(study, self._searched_s)
        self._time_left.earlier(earlier)
        self._task = self._progress.add_task("", total=1.0, study=study.study, ended="", left="")
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2, transient=True)
            self._live.start()

    def trial_runs(self, trial_id: str, what: str, epoch: int = 0, of_epochs: int = 0) -> None:
        """A trial that trains or measures, and how far it is."""
        with self._lock:
            self._running[trial_id] = what
            self._time_left.running(trial_id, epoch, of_epochs)

    def timer_lost(self, trial_id: str, reason: str) -> None:
        """A trial that waits for its timer, or whose timer is back; several that wait for the same are told once."""
        with self._lock:
            self._running[trial_id] = f"waits: {reason}" if reason else "is timed"
        if reason != self._timer_lost:
            self._timer_lost = reason
            self._log(f"the search waits: {reason}" if reason else "the timer is back: the search goes on")

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial that is over."""
        with self._lock:
            self._running.pop(record.trial_id, None)
            self._ended.append(record)
            self._time_left.ended(record)
        self._log(self._line(record))

    def expected(self, share: float) -> None:
        """What the next trials are expected to add."""
        with self._lock:
            self._expected = share

    def study_ended(self, study: str, folder: Path) -> None:
        """Take the live view away, and say if the search ends because it would add too little."""
        self.__exit__()
        least = self._study.stop_below
        if least is not None and self._expected is not None and self._expected < least:
            line = f"the search ends: the next 10 trials are expected to add {self._expected:.1%} to the hypervolume"
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _log(self, line: str) -> None:
        """A line of its own, where there is no live view."""
        if not self._live:
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _line(self, record: TrialRecord) -> str:
        done = f"[{len(self._ended)}/{self._study.trials}]"
        latency = f"{record.latency.ms:.4f} ms" if record.latency else "no latency"
        score = self._shown(record.val_score) if record.val_score is not None else record.reason
        learnt = record.state != "finished" or (record.val_score or 0.0) > self._study.floor
        remark = (
            ""
            if learnt
            else f"; nothing learnt: one answer for all scores {self._study.metric.number(self._study.floor)}"
        )
        return f"{done} {record.trial_id} {record.state}: {score}, {latency}, {summary(record.config)}{remark}"

    def _shown(self, score: float) -> str:
        metric = self._study.metric
        return f"val_{metric.key} {metric.number(score)}"

    def _estimate(self) -> None:
        """Estimate anew how long it still takes, unless that has been done a moment ago."""
        now = time.monotonic()
        if now >= self._next_estimate:
            self._left_s, self._estimated = self._time_left.seconds(), now
            self._next_estimate = now + max(ESTIMATE_EVERY_S, (time.monotonic() - now) / ESTIMATE_SHARE)

    def _show_progress(self) -> None:
        self._estimate()
        ended = f"{len(self._ended)}/{self._study.trials} trials"
        if self._left_s is None:
            self._progress.update(self._task, ended=ended, left="")
            return
        left_s = max(0.0, self._left_s - (time.monotonic() - self._estimated))
        searched_s = self._searched_s()
        share = searched_s / (searched_s + left_s) if searched_s else 0.0
        share = max(share, self._progress.tasks[0].completed)  # an estimate that has grown takes nothing back
        self._progress.update(self._task, completed=share, ended=ended, left=f"about {duration(left_s)} left")

    def _render(self) -> RenderableType:
        with self._lock:
            return self._view()

    def _view(self) -> RenderableType:
        self._show_progress()
        trials = counted(Counter(record.state for record in self._ended))
        trials.append(f"{len(self._running)} running")
        states = f"{', '.join(trials)}; hypervolume {hypervolume_of(self._study, self._ended):.4f}"
        if self._expected is not None:
            states += f"; expected of the next 10 trials: +{self._expected:.1%}"
        current = "; ".join(f"{trial_id} {what}" for trial_id, what in sorted(self._running.items()))
        parts: list[RenderableType] = [self._progress, Text(states), Text(current, style="dim")]
        parts += front_table(self._study.metric, self._ended)
        # The legend, the axis, and the line that the cursor is on.
        room = self._console.height - len(self._console.render_lines(Group(*parts))) - 3
        if room >= LEAST_PLOT_ROWS:
            marks = "#o" if self._console.options.ascii_only else "●○"
            parts += front_plot(self._study, self._ended, min(PLOT_ROWS, room), marks)
        return Group(*parts)


def front_table(metric: Metric, ended: list[TrialRecord], rows: int = FRONT_ROWS) -> list[Table]:
    """The non-dominated finished trials, fastest first, the last `rows` of them; nothing while there are none."""
    chosen = front_trials(ended)
    if not chosen:
        return []
    table = Table(title="front so far", title_justify="left")
    for heading in (
        "trial",
        f"val_{metric.key}",
        "ms",
        "x ref",
        "KB",
    ):  # the ratio compares with other sessions and studies
        table.add_column(heading, justify="right" if heading != "trial" else "left")
    table.add_column("network")
    skipped = max(0, len(chosen) - rows)
    for record in chosen[skipped:]:
        at = point_of(record)
        size = f"{(record.size_bytes or 0) / 1000:.0f}"
        ratio = f"{record.latency.ratio:.3f}" if record.latency else ""
        table.add_row(record.trial_id, metric.number(at.quality), f"{at.cost:.4f}", ratio, size, summary(record.config))
    if skipped:
        table.caption = f"and {quantity(skipped, 'faster one')}"
    return [table]


def front_plot(study: StudyRecord, ended: list[TrialRecord], rows: int = PLOT_ROWS, marks: str = "●○") -> list[Text]:
    """Trials by latency (log, to the right) and validation score (up); nothing while none has finished.

    Args:
        study: theirs; what scores less than its floor lies on the lowest line, so that the front has room.
        ended: trials that are over.
        rows: height of the plot itself, which has a legend above and an axis below.
        marks: one character each for the front and for other finished trials.
    """
    layers = (scored(ended), front_trials(ended))  # the later, the higher
    points = [point_of(trial) for layer in layers for trial in layer]
    if not layers[-1]:
        return []
    fastest, slowest = min(point.cost for point in points), max(point.cost for point in points)
    top = max(point.quality for point in points)
    bottom = min(top, max(study.floor, min(point.quality for point in points)))
    cells = [[" "] * PLOT_COLUMNS for _ in range(rows)]
    for mark, layer in zip(reversed(marks), layers, strict=True):
        for at in map(point_of, layer):
            right = math.log(at.cost / fastest) / (math.log(slowest / fastest) or 1)
            up = max(0.0, at.quality - bottom) / ((top - bottom) or 1)
            cells[round((1 - up) * (rows - 1))][round(right * (PLOT_COLUMNS - 1))] = mark
    labels = [study.metric.number(top), *[""] * (rows - 2), study.metric.number(bottom)]
    lines = [f"{label:>6} |{''.join(cell)}" for label, cell in zip(labels, cells, strict=True)]
    axis = f"{f'{fastest:.4f}':{PLOT_COLUMNS // 2}}{f'{slowest:.4f} ms':>{PLOT_COLUMNS // 2}}"
    legend = f"val_{study.metric.key}  {marks[0]} front  {marks[1]} other finished"
    plot = Text("\n".join([legend, *lines, f"{'':8}{axis}"]), no_wrap=True)
    plot.highlight_words([marks[0]], "bold green")
    return [plot]
