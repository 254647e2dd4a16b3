"""Studies and models of earlier versions open, predict and run (what they are: records/made_before/README.md)."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

MADE = Path(__file__).parents[1] / "records" / "made_before"
MODELS = ["three_labels", "threshold", "hands_l"]


@pytest.fixture
def made(home: Path) -> Path:
    """The current folder, with what was made before, and eight pictures of noise in `pictures`."""
    shutil.copytree(MADE, home / "runs")
    (home / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        picture = rng.integers(0, 64 + 24 * number, (20, 20, 3), np.uint8)
        (home / "pictures" / f"{number}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return home


def rows(path: Path) -> list[dict[str, Any]]:
    """A table's rows, probabilities as numbers."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {k: float(v) if k.startswith("prob") and v else v for k, v in row.items()} for row in csv.DictReader(file)
        ]


def as_before(name: str) -> list[Any]:
    """The rows that a model once gave, within what runtimes and processors differ by."""
    return [pytest.approx(row, abs=1e-4) for row in rows(MADE / "predicted" / f"{name}.csv")]


def test_a_study_is_shown(made: Path, result: Callable[..., Any]) -> None:
    shown = result("studies", "show", "hands-1")
    assert shown["states"] == {"infeasible": 1, "finished": 2}
    assert [trial["trial_id"] for trial in shown["front"]] == ["00007", "00006"]
    assert shown["hypervolume"] == pytest.approx(1.9997018718441173)
    assert not (made / "runs" / "hands-1" / "report.html").exists()
    result("report", "hands-1")
    assert (made / "runs" / "hands-1" / "report.html").is_file()


def test_a_trial_that_was_stopped_is_shown_as_such(made: Path, result: Callable[..., Any]) -> None:
    path = made / "runs" / "hands-1" / "trials" / "00006" / "record.json"
    path.write_text(path.read_text().replace('"finished"', '"stopped"'))
    shown = result("studies", "show", "hands-1")
    assert shown["states"] == {"infeasible": 1, "finished": 1, "stopped": 1}
    assert [trial["trial_id"] for trial in shown["front"]] == ["00007"]
    result("report", "hands-1")
    page = (made / "runs" / "hands-1" / "report.html").read_text()
    assert "1 finished, 1 stopped, 1 rejected" in page
    assert "A stopped trial has the F1 that it had reached." in page


@pytest.mark.parametrize("name", MODELS)
def test_models_predict_what_they_did(name: str, made: Path, result: Callable[..., Any]) -> None:
    result("predict", "--model", f"runs/models/{name}.onnx", "--source", "pictures", "--out", "now.csv")
    assert rows(made / "now.csv") == as_before(name)


@pytest.mark.parametrize("name", MODELS)
def test_models_run_in_the_demo(name: str, made: Path, result: Callable[..., Any]) -> None:
    model = f"runs/models/{name}.onnx"
    summary = result("demo", "--headless", "--model", model, "--source", "pictures", "--csv", "now.csv")
    called = [row["label"] for row in rows(MADE / "predicted" / f"{name}.csv")]
    assert summary["decisions"] == len(called)
    assert [row["label"] for row in rows(made / "now.csv") if row["label"]] == called


def test_a_checkpoint_predicts_and_is_exported(made: Path, result: Callable[..., Any]) -> None:
    result("export", "--checkpoint", "runs/models/threshold.pt", "--out", "exported.onnx")
    for model in ("runs/models/threshold.pt", "exported.onnx"):
        result("predict", "--model", model, "--source", "pictures", "--out", "now.csv")
        assert rows(made / "now.csv") == as_before("threshold")
