"""Confusion matrix and ROC curve as one picture, drawn by another process so that training never waits for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whc.records import replacing

_NICENESS = 10


def draw(
    path: Path,
    title: str,
    labels: Sequence[str],
    confusion: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    class_ids: NDArray[np.int64],
) -> None:
    """Draw one picture.

    Args:
        path: PNG to write.
        title: above both panels.
        labels: in order of class_id.
        confusion: (C, C) counts, row the real class, column the class called.
        probabilities: (M,) of class 1, or (M, C), each class then against the others.
        class_ids: (M,) the real classes.
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    ConfusionMatrixDisplay(confusion, display_labels=labels).plot(ax=left, cmap="Blues", colorbar=False)
    left.set(xlabel="called", ylabel="real")
    left.set_yticklabels(labels, rotation=90, va="center")
    right.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    columns = {1: probabilities} if probabilities.ndim == 1 else dict(enumerate(probabilities.T))
    for class_id, column in columns.items():
        RocCurveDisplay.from_predictions(class_ids == class_id, column, name=labels[class_id], ax=right)
    right.set(xlabel="false positive rate", ylabel="true positive rate")
    right.legend(loc="lower right")
    figure.suptitle(title)
    with replacing(path) as temporary:
        figure.savefig(temporary)


@dataclass
class Artist:
    """Draws in a process of its own, one picture after another."""

    pool: ProcessPoolExecutor
    pictures: list[Future[None]] = field(default_factory=list)

    def draw(self, *what: object) -> None:
        """Ask for a picture; arguments as those of `whc.training.diagnostics.draw`."""
        self.pictures.append(self.pool.submit(draw, *what))  # type: ignore[arg-type]


def _step_back() -> None:
    os.nice(_NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training, which then ends this process


@contextmanager
def artist() -> Iterator[Artist]:
    """An artist for the length of the context, which ends when all pictures are drawn."""
    # A fresh process, started by the first picture: a fork would copy the threads' locks of PyTorch.
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_step_back) as pool:
        hired = Artist(pool)
        yield hired
        for picture in hired.pictures:
            picture.result()
