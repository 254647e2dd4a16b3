"""Steps of long work, with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from whc.cli._options import messages, printable
from whc.words import duration


def _in_words(seconds: float) -> str:
    return f"about {duration(seconds)} left" if seconds else ""


class _TimedBar(Progress):
    """A bar of the share of the time that has passed; it moves on by itself until the field `ends_s` (0: unknown)."""

    began_s = 0.0

    def get_renderables(self) -> Iterable[RenderableType]:
        """As rich does, after the time left is counted down."""
        now_s = time.monotonic()
        for task in self.tasks:
            if task.fields["ends_s"]:
                left_s = max(1.0, task.fields["ends_s"] - now_s)
                elapsed_s = now_s - self.began_s
                self.update(task.id, completed=elapsed_s, total=elapsed_s + left_s, left=_in_words(left_s))
        yield from super().get_renderables()


@contextmanager
def timed_steps() -> Iterator[tuple[Callable[[str], None], Callable[[float], None]]]:
    """A bar for the length of the context; yields the function that shows a step, and that which sets the seconds left.

    0 seconds are unknown. Where there is no terminal each step is a line.
    """
    console, left_s = messages(), 0.0
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(20))
    left = TextColumn("{task.fields[left]}", markup=False)
    with _TimedBar(*columns, left, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.began_s = time.monotonic()
        task = bar.add_task("starting", total=None, left="", ends_s=0.0)

        def step(what: str) -> None:
            bar.update(task, description=printable(what))
            if not console.is_terminal:
                console.print(f"{what} ({_in_words(left_s)})" if left_s else what, soft_wrap=True)

        def set_left(seconds: float) -> None:
            nonlocal left_s
            left_s = seconds
            bar.update(task, ends_s=time.monotonic() + seconds if seconds else 0.0, left=_in_words(seconds))

        yield step, set_left
