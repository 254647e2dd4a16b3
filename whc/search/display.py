"""What a search shows while it runs: counts, the front so far, time left; plain lines when not on a terminal."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from whc.pareto import Point, front
from whc.records import StudyRecord, TrialRecord

FRONT_ROWS = 8


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
        self._start = time.monotonic()
        self._progress = Progress(
            TextColumn("[bold]{task.fields[study]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trials"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
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
        self._running[trial_id] = what

    def ended(self, record: TrialRecord) -> None:
        """A trial that is over."""
        self._running.pop(record.trial_id, None)
        self._ended.append(record)
        self._progress.advance(self._task)
        if not self._live:
            self._console.print(self._line(record), soft_wrap=True, highlight=False)

    def _line(self, record: TrialRecord) -> str:
        done = f"[{len(self._ended)}/{self._progress.tasks[0].total:.0f}]"
        latency = f"{record.latency.ms:.4f} ms" if record.latency else "no latency"
        f1 = f"val_f1 {record.val_f1:.4f}" if record.val_f1 is not None else record.reason
        return f"{done} {record.trial_id} {record.state}: {f1}, {latency}, {summary(record.config)}".replace("[", r"\[")

    def _time_left(self) -> str:
        """From this run's own pace: trials end in bursts, so a window of recent ones misleads."""
        done = len(self._ended) - self._earlier
        if not done:
            return ""
        seconds = (time.monotonic() - self._start) / done * (self._study.trials - len(self._ended))
        return f"about {timedelta(seconds=round(seconds))} left"

    def _render(self) -> RenderableType:
        self._progress.update(self._task, left=self._time_left())
        counts = Counter(record.state for record in self._ended)
        rejected = f"{counts['infeasible']} rejected before training, {counts['failed']} failed"
        states = f"{counts['finished']} finished, {rejected}, {len(self._running)} running"
        current = "; ".join(f"{trial_id} {what}" for trial_id, what in sorted(self._running.items()))
        return Group(self._progress, states, f"[dim]{current}[/dim]", *front_table(self._ended))


def front_table(ended: list[TrialRecord]) -> list[Table]:
    """The non-dominated finished trials, fastest first; nothing while there are none."""
    finished = [record for record in ended if record.state == "finished" and record.latency]
    points = [Point(record.val_f1 or 0.0, record.latency.ms) for record in finished if record.latency]
    chosen = [finished[i] for i in front(points)]
    if not chosen:
        return []
    table = Table(title="front so far", title_justify="left")
    for heading in ("trial", "val_f1", "ms", "KB"):
        table.add_column(heading, justify="right" if heading != "trial" else "left")
    table.add_column("network")
    skipped = max(0, len(chosen) - FRONT_ROWS)
    for record in chosen[skipped:]:
        assert record.latency and record.size_bytes and record.val_f1 is not None  # noqa: S101 (finished)
        numbers = (f"{record.val_f1:.4f}", f"{record.latency.ms:.4f}", f"{record.size_bytes / 1000:.0f}")
        table.add_row(record.trial_id, *numbers, summary(record.config))
    if skipped:
        table.caption = f"and {skipped} faster ones"
    return [table]
