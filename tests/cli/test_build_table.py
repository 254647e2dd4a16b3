"""What `whc factory build-table` prints."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from whc.cli._timed_steps import timed_steps
from whc.cli.factory.build_table import _render, _render_plan
from whc.factory.plan import BuildPlan, PlannedCandidate, PlannedLadder
from whc.records import LadderTable, LeftOut, Metric, VariantRow

F1 = Metric(key="f1", name="F1")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["still", "waving"], "always calling 'waving' scores F1 0.2500"),
        (["left", "right", "none"], "the best constant predictor scores F1 0.2500"),
    ],
)
def test_the_constant_predictor_is_told(labels: list[str], told: str) -> None:
    lines = printed(labels=labels)
    assert told in lines
    assert "registered" in lines


@pytest.mark.parametrize(("left_out", "told"), [(0, "0 candidates"), (1, "1 candidate"), (2, "2 candidates")])
def test_what_is_left_out_is_counted(left_out: int, told: str) -> None:
    some = [LeftOut(trial_id=str(i), val_score=0.5, latency_ms=0.1, reason="slow") for i in range(left_out)]
    lines = printed(left_out=some)
    assert any(line == f"{told} left out" for line in lines)
    assert not any("with 80 % confidence" in line for line in lines)  # there is no faster one to add to


def test_scores_without_a_test_split_are_words() -> None:
    latency = {"latency_ms": 0.1, "latency_low_ms": 0.1, "latency_high_ms": 0.1, "runtime": "onnxruntime_cpu"}
    file = {"size_bytes": 1000, "params": 1, "file": "ladder/whc_m.onnx", "config": {}, "trial_id": "00000"}
    scores: dict[str, Any] = {"score": None, "score_low": None, "score_high": None, "score_changed": {}, "seeds": {}}
    row = VariantRow(name="whc_m", val_score=0.75, **scores, **latency, **file)
    lines = printed(variants=[row], test_split=False, floor=None, val_floor=0.625)
    (shown,) = [re.split(r"\s{2,}", line) for line in lines if "whc_m" in line]
    assert shown[:3] == ["whc_m", "no test split", "0.7500"]
    assert F1.untested in lines
    assert "always calling 'waving' scores F1 0.6250 on validation" in lines


def test_no_number_is_cut_in_80_columns() -> None:
    latency = {"latency_ms": 0.0485, "latency_low_ms": 0.0479, "latency_high_ms": 0.049, "runtime": "onnxruntime_cpu"}
    file = {"size_bytes": 3.05e5, "params": 1, "file": "ladder/m.onnx", "config": {}, "trial_id": "00000"}
    scores: dict[str, Any] = {"score": 0.7533, "score_low": 0.611, "score_high": 0.883, "score_changed": {}}
    row = VariantRow(name="hands_of_all_people_m", val_score=0.6269, seeds={}, **scores, **latency, **file)
    lines = printed(80, variants=[row], metric=Metric(key="ap50", name="AP50"))
    assert any("0.7533 (0.611-0.883)    0.6269  0.0485 (0.0479-0.0490)" in line for line in lines)
    assert "305.0" in "".join(lines)
    assert "…" not in "".join(lines)


def test_what_compares_with_other_studies_is_shown() -> None:
    latency = {"latency_ms": 0.1, "latency_low_ms": 0.1, "latency_high_ms": 0.1, "runtime": "onnxruntime_cpu"}
    file = {"size_bytes": 1000, "params": 1, "file": "ladder/whc_m.onnx", "config": {}, "trial_id": "00000"}
    scores: dict[str, Any] = {"score": 0.5, "score_low": 0.4, "score_high": 0.6, "score_changed": {}, "seeds": {}}
    rows = [
        VariantRow(name=name, val_score=0.75, latency_ratio=ratio, **scores, **latency, **file)
        for name, ratio in (("whc_m", 0.381), ("whc_l", None))
    ]
    cells = [line.split()[-2] for line in printed(variants=rows) if "whc_" in line]
    assert cells == ["0.381", "unknown"]


def test_a_plan_says_what_is_done_and_for_how_long() -> None:
    counts = {"00001": (2, 0, False), "00002": (2, 1, True), "00003": (2, 2, True)}
    candidates = [
        PlannedCandidate(trial_id=trial_id, trainings=all_, to_train=missing, to_compare=is_new)
        for trial_id, (all_, missing, is_new) in counts.items()
    ]
    seconds = {"training again": 95.0, "timing": 0.0, "scores": 4.0}
    about = {"study": "hands-1", "workers": 2, "candidates": candidates, "seconds": seconds}
    shown = io.StringIO()
    ladders = [
        PlannedLadder(
            prefix="hands",
            kind="onnx on onnxruntime_cpu",
            is_timed=False,
            timed_at=datetime(2026, 3, 1, 17, 5, tzinfo=UTC),
        ),
        PlannedLadder(prefix="hands_int8", kind="litert_int8 on litert", to_make=2, is_timed=True),
    ]
    made = BuildPlan(**about, ladders=ladders)
    Console(file=shown, width=80).print(_render_plan(made))
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    assert [re.split(r"\s{2,}", line) for line in lines[3:6]] == [
        ["00001", "2 reused", "reused"],
        ["00002", "1 to do, 1 reused", "to do"],
        ["00003", "2 to do", "to do"],
    ]
    assert lines[6:] == [
        "hands_*, onnx on onnxruntime_cpu: latencies of 2026-03-01 17:05 UTC are reused",
        "hands_int8_*, litert_int8 on litert: 2 files to make, 3 candidates timed",
        "together",
        "about 2 min on 2 workers: training again 95 s, scores 4 s",
        "nothing was written",
    ]


def test_without_a_terminal_steps_are_lines_with_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with timed_steps() as (on_step, on_left):
        on_step("reading")
        on_left(95)
        on_step("training [again]")
    assert capsys.readouterr().err == "reading\ntraining [again] (about 2 min left)\n"


def printed(width: int = 120, **changes: Any) -> list[str]:
    """The lines that a table of no variants gives, in a terminal so wide; keywords change it."""
    origin = {"data_fingerprint": "f00d", "code_version": "1", "host": "here", "noisy": False, "aa_ratio": 1.0}
    choice = {"floor": 0.25, "confidence": 0.8, "variants_at_95": 0, "variants": []}
    about = {"study": "hands-1", "prefix": "whc", "task": "classification", "labels": ["still", "waving"], "metric": F1}
    fields: dict[str, Any] = {**about, **origin, **choice, **changes}
    shown = io.StringIO()
    Console(file=shown, width=width).print(_render(LadderTable(**fields), Path("runs/hands-1"), ["registered"]))
    return shown.getvalue().splitlines()
