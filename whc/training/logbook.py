"""What a training run writes after each epoch: history.json, TensorBoard scalars and train.log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from whc.records import Metric, write_atomic
from whc.training.loop import Epoch

log = logging.getLogger(__name__)


class Logbook:
    """Writes epochs in order.

    Args:
        folder: the run's folder.
        epochs: number of epochs already trained; entries of later epochs are dropped.
        metric: how people read scores.
    """

    def __init__(self, folder: Path, epochs: int, metric: Metric) -> None:
        from tensorboardX import SummaryWriter

        self._path, self._metric = folder / "history.json", metric
        self._history: list[dict[str, Any]] = []
        if epochs and self._path.is_file():
            self._history = json.loads(self._path.read_text(encoding="utf-8"))[:epochs]
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=epochs + 1 if epochs else None)

    def write(self, epoch: Epoch) -> None:
        """Write an epoch's numbers."""
        self._history.append(epoch.scalars)
        write_atomic(self._path, json.dumps(self._history, indent=1) + "\n")
        for name, value in epoch.scalars.items():
            if name != "epoch":
                self._board.add_scalar(name, value, epoch.epoch)
        self._board.flush()
        log.info(
            "epoch %d: train loss %.4f %s, val loss %.4f %s, lr %.2e, %.0f images/s, %.2f s",
            epoch.epoch,
            epoch.train_loss,
            self._metric.shown(epoch.train_score),
            epoch.val_loss,
            self._metric.shown(epoch.val_score),
            epoch.lr,
            epoch.images_per_second,
            epoch.seconds,
        )

    def close(self) -> None:
        """Close the files; no epoch follows."""
        self._board.close()


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Within the block, whc's log messages from INFO on are also appended to this file."""
    root = logging.getLogger("whc")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
