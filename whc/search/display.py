"""What a search shows while it runs: counts, the front so far, time left; plain lines when not on a terminal."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from whc.pareto import Point, front, hypervolume
from whc.records import StudyRecord, TrialRecord

STATES = {"finished": "finished", "stopped": "stopped", "infeasible": "rejected", "failed": "failed"}
FRONT_ROWS = 8
PLOT_COLUMNS, PLOT_ROWS, LEAST_PLOT_ROWS = 50, 10, 4


def counted(states: Mapping[str, int]) -> list[str]:
    """How many trials ended in each state, as in `20 finished`; states in which none did are left out."""
    return [f"{states[state]} {word}" for state, word in STATES.items() if states.get(state)]


def point(record: TrialRecord) -> Point:
    """Validation F1 and latency in milliseconds of a trial that has both."""
    assert record.val_f1 is not None and record.latency  # noqa: S101 (said above)
    return Point(record.val_f1, record.latency.ms)


def scored(ended: Iterable[TrialRecord], state: str = "finished") -> list[TrialRecord]:
    """The trials that ended in a state and have both a validation F1 and a latency."""
    return [one for one in ended if one.state == state and one.latency and one.val_f1 is not None]


def front_trials(ended: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The non-dominated finished trials, fastest first."""
    finished = scored(ended)
    return [finished[i] for i in front([point(one) for one in finished])]


def reference(study: StudyRecord, ended: Iterable[TrialRecord]) -> Point:
    """Where a study's hypervolume begins: the constant predictor's F1, and the latency limit.

    Where there is no limit, the slowest finished trial's latency stands for it.
    """
    slowest = max((point(one).cost for one in scored(ended)), default=1.0)
    return Point(study.constant_f1, study.limits.get("latency_ms", slowest))


def hypervolume_of(study: StudyRecord, ended: Iterable[TrialRecord]) -> float:
    """The hypervolume that a study's finished trials have reached."""
    found = list(ended)
    return hypervolume([point(one) for one in scored(found)], reference(study, found))


def summary(config: dict[str, object]) -> str:
    """A configuration's network in a few words, such as `inverted_se/avg luma w16 d4 32px`."""
    model = config["model"]
    assert isinstance(model, dict)  # noqa: S101 (a resolved configuration)

    def name(choice: object) -> str:
        return str(next(iter(choice))) if isinstance(choice, dict) else str(choice)

    sequence = model["sequence"]
    # What a sequence model has no use for is absent: one that brings its own head is named in its place.
    parts = [name(model[part]) for part in ("backbone", "head" if "head" in model else "sequence") if part in model]
    depth = f" d{model['depth']}" if "depth" in model else ""
    frames = "" if sequence == "none" else f" x{next(iter(sequence.values()))['frames']}"
    return f"{'/'.join(parts)} {model['color']} w{model['width']}{depth} {model['image_size']}px{frames}"


class Display:
    """A live view on a terminal, one line a trial elsewhere. Use as a context manager around the search."""

    def __init__(self, study: StudyRecord, console: Console) -> None:
        self._study = study
        self._console = console
        self._ended: list[TrialRecord] = []
        self._earlier = 0
        self._running: dict[str, str] = {}
        self._paused: set[str] = set()
        self._start = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.fields[study]}", style="bold", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trials"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
        )
        self._task = self._progress.add_task("", total=study.trials, study=study.study, left="")
        self._live = (
            Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def earlier(self, ended: list[TrialRecord]) -> None:
        """Trials that had ended before this run."""
        self._ended += ended
        self._earlier = len(ended)
        self._start = time.monotonic()
        self._progress.reset(self._task, completed=len(ended))

    def running(self, trial_id: str, what: str) -> None:
        """A trial that trains or measures, and how far it is."""
        self._paused.discard(trial_id)
        self._running[trial_id] = what

    def paused(self, trial_id: str, what: str) -> None:
        """A trial that waits at a rung until `running` takes it back, or until it has ended.

        Args:
            trial_id: of the trial.
            what: how far it is, such as `after 4 of 12 epochs: val_f1 0.8123, 0.0231 ms`.
        """
        self._running.pop(trial_id, None)
        self._paused.add(trial_id)
        self._log(f"{trial_id} waits {what}")

    def ended(self, record: TrialRecord) -> None:
        """A trial that is over."""
        self._running.pop(record.trial_id, None)
        self._paused.discard(record.trial_id)
        self._ended.append(record)
        self._progress.advance(self._task)
        self._log(self._line(record))

    def _log(self, line: str) -> None:
        """A line of its own, where there is no live view."""
        if not self._live:
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _line(self, record: TrialRecord) -> str:
        done = f"[{len(self._ended)}/{self._progress.tasks[0].total:.0f}]"
        latency = f"{record.latency.ms:.4f} ms" if record.latency else "no latency"
        f1 = f"val_f1 {record.val_f1:.4f}" if record.val_f1 is not None else record.reason
        return f"{done} {record.trial_id} {record.state}: {f1}, {latency}, {summary(record.config)}"

    def _time_left(self) -> str:
        """From this run's own pace: trials end in bursts, so a window of recent ones misleads."""
        done = len(self._ended) - self._earlier
        if not done:
            return ""
        seconds = (time.monotonic() - self._start) / done * (self._study.trials - len(self._ended))
        return f"about {timedelta(seconds=round(seconds))} left"

    def _render(self) -> RenderableType:
        self._progress.update(self._task, left=self._time_left())
        trials = counted(Counter(record.state for record in self._ended))
        trials += [f"{len(self._running)} running", f"{len(self._paused)} paused"]
        states = f"{', '.join(trials)}; hypervolume {hypervolume_of(self._study, self._ended):.4f}"
        current = "; ".join(f"{trial_id} {what}" for trial_id, what in sorted(self._running.items()))
        parts: list[RenderableType] = [self._progress, Text(states), Text(current, style="dim")]
        parts += front_table(self._ended)
        # The legend, the axis, and the line that the cursor is on.
        room = self._console.height - len(self._console.render_lines(Group(*parts))) - 3
        if room >= LEAST_PLOT_ROWS:
            marks = "#o." if self._console.options.ascii_only else "●○·"
            parts += front_plot(self._ended, self._study.constant_f1, min(PLOT_ROWS, room), marks)
        return Group(*parts)


def front_table(ended: list[TrialRecord], rows: int = FRONT_ROWS) -> list[Table]:
    """The non-dominated finished trials, fastest first, the last `rows` of them; nothing while there are none."""
    chosen = front_trials(ended)
    if not chosen:
        return []
    table = Table(title="front so far", title_justify="left")
    for heading in ("trial", "val_f1", "ms", "KB"):
        table.add_column(heading, justify="right" if heading != "trial" else "left")
    table.add_column("network")
    skipped = max(0, len(chosen) - rows)
    for record in chosen[skipped:]:
        at = point(record)
        size = f"{(record.size_bytes or 0) / 1000:.0f}"
        table.add_row(record.trial_id, f"{at.quality:.4f}", f"{at.cost:.4f}", size, summary(record.config))
    if skipped:
        table.caption = f"and {skipped} faster ones"
    return [table]


def front_plot(ended: list[TrialRecord], floor: float, rows: int = PLOT_ROWS, marks: str = "●○·") -> list[Text]:
    """Trials by latency (log, to the right) and validation F1 (up); nothing while none has finished.

    Args:
        ended: trials that are over.
        floor: the constant predictor's F1; what is below lies on the lowest line, so that the front has room.
        rows: height of the plot itself, which has a legend above and an axis below.
        marks: one character each for the front, other finished trials, and stopped ones.
    """
    layers = (scored(ended, "stopped"), scored(ended), front_trials(ended))  # the later, the higher
    points = [point(one) for layer in layers for one in layer]
    if not layers[-1]:
        return []
    fastest, slowest = min(one.cost for one in points), max(one.cost for one in points)
    top = max(one.quality for one in points)
    bottom = min(top, max(floor, min(one.quality for one in points)))
    cells = [[" "] * PLOT_COLUMNS for _ in range(rows)]
    for mark, layer in zip(reversed(marks), layers, strict=True):
        for at in map(point, layer):
            right = math.log(at.cost / fastest) / (math.log(slowest / fastest) or 1)
            up = max(0.0, at.quality - bottom) / ((top - bottom) or 1)
            cells[round((1 - up) * (rows - 1))][round(right * (PLOT_COLUMNS - 1))] = mark
    labels = [f"{top:.4f}", *[""] * (rows - 2), f"{bottom:.4f}"]
    lines = [f"{label:>6} |{''.join(cell)}" for label, cell in zip(labels, cells, strict=True)]
    axis = f"{f'{fastest:.4f}':{PLOT_COLUMNS // 2}}{f'{slowest:.4f} ms':>{PLOT_COLUMNS // 2}}"
    legend = f"val_f1  {marks[0]} front  {marks[1]} other finished  {marks[2]} stopped"
    plot = Text("\n".join([legend, *lines, f"{'':8}{axis}"]), no_wrap=True)
    plot.highlight_words([marks[0]], "bold green")
    return [plot]
