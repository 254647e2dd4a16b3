"""What `whc factory build-table` prints."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from whc.cli.factory.build_table import _render
from whc.records import LadderTable


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["still", "waving"], "always calling 'waving' scores F1 0.2500"),
        (["left", "right", "none"], "the best constant predictor scores F1 0.2500"),
    ],
)
def test_the_constant_predictor_is_told(labels: list[str], told: str) -> None:
    table = LadderTable(
        study="hands-1",
        prefix="whc",
        task="classification",
        labels=labels,
        data_fingerprint="f00d",
        code_version="1",
        host="here",
        constant_f1=0.25,
        confidence=0.8,
        variants_at_95=0,
        noisy=False,
        aa_ratio=1.0,
        variants=[],
    )
    shown = io.StringIO()
    Console(file=shown, width=120).print(_render(table, Path("runs/hands-1"), ["registered"]))
    lines = shown.getvalue().splitlines()
    assert told in lines
    assert "registered" in lines
