"""The pie of classes, whatever classes are called."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from whc.data.build_report import BuildReport, draw
from whc.data.dataset import SPLIT_NAMES
from whc.data.report import SplitReport
from whc.data.sources import BuildConfig


@pytest.mark.parametrize("labels", [["no", "yes"], ["_hidden", "$x^", "笑顔"], [f"class {i}" for i in range(30)]])
def test_draw(labels: list[str], tmp_path: Path) -> None:
    counts = {label: 7 + i for i, label in enumerate(labels)}
    split = SplitReport(rows=sum(counts.values()), strata=counts, people=3, clips=3)
    report = BuildReport(
        path="dataset.parquet",
        fingerprint="f00d",
        rows=3 * split.rows,
        labels=labels,
        frame_rate=None,
        splits=dict.fromkeys(SPLIT_NAMES, split),
        left_out=[],
        near_duplicates=[],
        leaks=[],
        notes=[],
        config=BuildConfig(kind="images", folder=Path("crops")),
    )
    draw(report, tmp_path / "classes")
    picture = cv2.imread(str(tmp_path / "classes"))
    assert picture.shape[1] == 1080
    # Three pies side by side: colour on a white ground in each third.
    for third in range(3):
        part = picture[100:300, 360 * third + 60 : 360 * third + 300]
        assert (part.max(2) - part.min(2) > 20).mean() > 0.4
