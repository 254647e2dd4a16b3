"""A run that lasts keeps nothing of its frames."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from whc.data.preprocess import Image
from whc.data.video import Frame
from whc.demo.run import run
from whc.demo.sources import files
from whc.demo.summary import Tally

FRAMES, FIRST = 704, 192  # where no decision waits to be counted
MAX_BYTES_A_FRAME = 100  # a decision of one number would take three hundred, a frame two thousand


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_memory_is_flat(
    task: str,
    brightness_model: Callable[..., Path],
    box_model: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((24, 32, 3), np.uint8))
    numbered = files.numbered

    def many(first: Image, later: Iterator[Image]) -> Iterator[Frame]:
        del later
        return numbered(first, itertools.repeat(first, FRAMES - 1))

    monkeypatch.setattr(files, "numbered", many)
    sizes: list[int] = []
    count = Tally._count

    def counted(tally: Tally, result: object) -> None:
        count(tally, result)
        if tally.frames in (FIRST, FRAMES):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])

    monkeypatch.setattr(Tally, "_count", counted)
    model = brightness_model() if task == "classification" else box_model([[0.9, 0, 0.5, 0.5, 0.5, 0.5]] * 20)
    tracemalloc.start()
    try:
        assert run(model, str(folder), csv=tmp_path / "out.csv", save=tmp_path / "out.webm").frames == FRAMES
    finally:
        tracemalloc.stop()
    first, last = sizes
    assert (last - first) / (FRAMES - FIRST) < MAX_BYTES_A_FRAME
