"""Pictures of how outputs and targets agree. Another process draws them, so that training never waits."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whc.data.preprocess import Image
from whc.records import replacing
from whc.tasks import Task

_NICENESS = 10


def draw(
    path: Path,
    title: str,
    task: Task,
    outputs: NDArray[np.floating],
    targets: NDArray[Any],
    pictures: Image | None = None,
) -> None:
    """Draw one picture.

    Args:
        path: picture to write; its suffix names the format.
        title: text above all panels.
        task: the task, which draws the panels.
        outputs: (M, ...) of a network.
        targets: (M, ...) of the same rows.
        pictures: (K, H, W, 3) of the task's noteworthy rows.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Labels are text, not formulas. They may be in any script, and the font may lack letters.
    with rc_context({"text.parse_math": False}), warnings.catch_warnings(), replacing(path) as temporary:
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        task.draw(figure, outputs, targets, pictures)
        figure.suptitle(title)
        figure.savefig(temporary)


@dataclass
class Artist:
    """Draws in a process of its own, one picture after another."""

    pool: ProcessPoolExecutor
    pictures: list[Future[None]] = field(default_factory=list)

    def draw(self, *arguments: object) -> None:
        """Ask for a picture; arguments as those of `whc.training.diagnostics.draw`."""
        self.pictures.append(self.pool.submit(draw, *arguments))  # type: ignore[arg-type]


def _lower_priority() -> None:
    os.nice(_NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training, which then ends this process


@contextmanager
def artist() -> Iterator[Artist]:
    """An artist for the block, which ends when all pictures are drawn."""
    # A spawned process, started with the first picture: a fork would copy the locks of PyTorch's threads.
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_lower_priority) as pool:
        new_artist = Artist(pool)
        yield new_artist
        for picture in new_artist.pictures:
            picture.result()
