"""What `whc factory compare` prints."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from whc.cli.factory.compare import _shown
from whc.factory.comparison import ComparedModel, Comparison
from whc.records import Metric

MODEL = ComparedModel(
    side="A",
    name="a_very_long_name_of_a_file",
    path="x.onnx",
    score=0.9876,
    score_low=0.9512,
    score_high=0.9931,
    latency_ms=12.3456,
    latency_low_ms=12.2,
    latency_high_ms=12.4,
    latency_ratio=345.678,
    size_bytes=12_345_678,
    rival="another_long_name_of_a_file",
    gain=-0.0123,
    gain_low=-0.0345,
    gain_high=0.0123,
    certainty=0.2,
    times_rival=112.34,
)
F1, MAE = Metric(key="f1", name="F1"), Metric(key="mae", name="MAE", unit="degrees", error_scale=45, digits=2)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("metric", [F1, MAE])
def test_no_number_is_cut(metric: Metric, width: int) -> None:
    about = {"sides": {"A": "ladder of new", "B": "files in old"}, "source": "data.parquet", "split": "val"}
    counts = {"rows": 528, "groups": 44, "left_out": 12}
    said = {"floor_shown": "the median scores 1", "host": "here", "noisy": False, "failed": {}, "notes": []}
    result = Comparison(metric=metric, models=[MODEL], **about, **counts, **said)
    shown = io.StringIO()
    Console(file=shown, width=width).print(_shown(result))
    lines = shown.getvalue().splitlines()
    (row,) = (line for line in lines if line.startswith("A "))
    for figure in ("12.35", "12346", "112."):  # none is cut
        assert f" {figure}" in row
    assert max(map(len, lines)) <= width
