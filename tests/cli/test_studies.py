"""`whc studies`: a list of what searches have found, and one of them closely."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whc.records import Latency, StudyRecord, TrialRecord, save

LIST_ALONE = """
import sys
from whc.cli import main
try:
    main()
finally:
    heavy = [name for name in ("torch", "ray", "mlflow", "cv2", "optuna", "plotly", "pandas") if name in sys.modules]
    print(heavy, file=sys.stderr)
"""


@pytest.fixture
def begin(make_study: Callable[..., StudyRecord]) -> Callable[..., None]:
    """Leaves a study that began so many seconds ago: `begin(folder, age=50)`."""

    def leave(folder: Path, age: int) -> None:
        own = {"study": folder.name, "space_name": folder.name.partition("-")[0], "space": {"model": {"width": [4, 8]}}}
        make_study(**own, trials=9, limits={"latency_ms": 1.0}, floor=0.5).save(folder)
        os.utime(folder / "study.yaml", (10_000 - age, 10_000 - age))

    return leave


@pytest.fixture
def end(make_trial: Callable[..., TrialRecord], make_latency: Callable[..., Latency]) -> Callable[..., None]:
    """Leaves a trial that is over: `end(folder, number, state, ms, val_score, reason)`."""

    def leave(
        folder: Path, number: int, state: str, ms: float, val_score: float | None = None, reason: str = ""
    ) -> None:
        own = {"trial_id": f"{number:05d}", "study": folder.name, "drawn": {"model.width": 4}, "size_bytes": 20_000}
        record = make_trial(**own, state=state, reason=reason, val_score=val_score, latency=make_latency(ms))
        save(record, folder / "trials" / record.trial_id / "record.json")

    return leave


@pytest.fixture
def runs(home: Path, begin: Callable[..., None], end: Callable[..., None]) -> Path:
    """Two studies, the second one without trials."""
    folder = home / "runs"
    begin(folder / "hands-1", age=50)
    end(folder / "hands-1", 0, "finished", 0.1, 0.6)
    end(folder / "hands-1", 1, "finished", 0.2, 0.8)
    end(folder / "hands-1", 2, "finished", 0.3, 0.7)
    end(folder / "hands-1", 3, "stopped", 0.05, 0.95, "after 4 of 12 epochs")
    end(folder / "hands-1", 4, "infeasible", 3.0, reason="latency_ms +200% over its limit")
    end(folder / "hands-1", 5, "infeasible", 1.5, reason="latency_ms +50% over its limit")
    end(folder / "hands-1", 6, "infeasible", 0.5, reason="size_bytes +7% over its limit")
    end(folder / "hands-1", 7, "failed", 0.5, reason="the worker died")
    end(folder / "hands-1", 8, "failed", 0.5, reason="the worker died")
    begin(folder / "eyes-1", age=10)
    return folder


@pytest.mark.parametrize("words", [("studies",), ("studies", "list")])
def test_the_list_has_the_newest_first(words: tuple[str, ...], runs: Path, result: Callable[..., Any]) -> None:
    eyes, hands = result(*words)
    assert hands == {
        "study": "hands-1",
        "space": "hands",
        "states": {"finished": 3, "stopped": 1, "infeasible": 3, "failed": 2},
        "ended": 9,
        "trials": 9,
        "metric": {"key": "f1", "name": "F1", "unit": "", "error_scale": None, "digits": 4},
        "best_val_score": 0.8,
        "front": 2,
        "hypervolume": pytest.approx(0.1 * 2.302585 + 0.2 * 1.609438),
        "reference_ms": 0.1,
        "folder": str(Path("runs", "hands-1")),
    }
    assert eyes["study"] == "eyes-1"
    assert (eyes["ended"], eyes["states"], eyes["best_val_score"], eyes["front"], eyes["hypervolume"]) == (
        0,
        {},
        None,
        0,
        0,
    )
    os.utime(runs / "hands-1" / "study.yaml", (20_000, 20_000))
    assert [row["study"] for row in result(*words)] == ["hands-1", "eyes-1"]


def test_the_list_for_people(runs: Path, whc_command: Callable[..., Any]) -> None:
    told = whc_command("studies", "--runs", runs)
    assert (told.code, told.err) == (0, "")
    (line,) = (line for line in told.out.splitlines() if "hands-1" in line)
    assert "9 of 9" in line
    assert "0.8000" in line
    assert "0 of 9" in told.out
    assert max(map(len, told.out.splitlines()[1:])) <= 80


def test_no_study_yet(home: Path, whc_command: Callable[..., Any], result: Callable[..., Any]) -> None:
    assert result("studies") == []
    told = whc_command("studies", "--runs", "elsewhere")
    assert told.out == "elsewhere: no study yet; begin one with `whc search --space search_spaces/tiny.yaml`\n"


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("study.yaml", "study: [", "study.yaml: line 1: must be valid YAML"),
        ("study.yaml", "{}", "study.yaml: study: required, got nothing; add it"),
        ("study.yaml", "", "study.yaml: must hold a mapping"),
        ("trials/00001/record.json", "{", "record.json: Invalid JSON"),
    ],
)
def test_a_damaged_study_is_one_line(
    file: str, content: str, told: str, runs: Path, whc_command: Callable[..., Any], result: Callable[..., Any]
) -> None:
    (runs / "hands-1" / file).write_text(content, encoding="utf-8")
    (row,) = (row for row in result("studies") if "damaged" in row)
    assert row["study"] == "hands-1"
    assert told in row["damaged"]
    assert "\n" not in row["damaged"]
    listed = whc_command("studies")
    assert listed.code == 0
    assert "eyes-1" in listed.out
    assert f"damaged: {row['damaged']}\n" in listed.out
    shown = whc_command("studies", "show", "hands-1")
    assert (shown.code, shown.out, shown.err) == (1, "", f"error: {row['damaged']}\n")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hand-1", "error: runs: no such study, got 'hand-1'; did you mean 'hands-1'?\n"),
        ("zzz", "error: runs: no such study, got 'zzz'; studies here: hands-1, eyes-1\n"),
    ],
)
def test_an_unknown_name(name: str, told: str, runs: Path, whc_command: Callable[..., Any]) -> None:
    shown = whc_command("studies", "show", name)
    assert (shown.code, shown.out, shown.err) == (1, "", told)


def test_a_name_is_no_path(runs: Path, whc_command: Callable[..., Any]) -> None:
    shown = whc_command("studies", "show", "../../elsewhere")
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("error: study name: ")


def test_one_study(runs: Path, result: Callable[..., Any]) -> None:
    told = result("studies", "show", "hands-1")
    assert told["study"] == "hands-1"
    assert told["facts"]["floor"] == 0.5
    assert told["states"] == {"finished": 3, "stopped": 1, "infeasible": 3, "failed": 2}
    assert told["reasons"] == {
        "infeasible": {"latency_ms +50 to +200% over its limit": 2, "size_bytes +7% over its limit": 1},
        "failed": {"the worker died": 2},
        "stopped": {"after 4 of 12 epochs": 1},
    }
    assert list(told["reasons"]["infeasible"].values()) == [2, 1]
    assert [(one["trial_id"], one["val_score"], one["latency"]["ms"]) for one in told["front"]] == [
        ("00000", 0.6, 0.1),
        ("00001", 0.8, 0.2),
    ]
    assert told["hypervolume"] == pytest.approx(0.1 * 2.302585 + 0.2 * 1.609438)
    assert not (runs / "hands-1" / "report.html").exists()


def test_one_study_for_people(runs: Path, whc_command: Callable[..., Any]) -> None:
    told = whc_command("studies", "show", "hands-1")
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    states = "3 finished, 1 stopped, 3 rejected, 2 failed"
    assert lines[0] == f"{Path('runs', 'hands-1')}: 9 of 9 trials ended: {states}"
    assert "2 rejected: latency_ms +50 to +200% over its limit" in lines
    assert any("x ref" in line for line in lines)
    assert any("reference network 0.1000 ms" in line for line in lines)
    assert "2 failed: the worker died" in lines
    assert "1 stopped: after 4 of 12 epochs" in lines
    assert lines[-1] == "its page: whc report hands-1"


def test_a_study_without_trials(runs: Path, whc_command: Callable[..., Any]) -> None:
    told = whc_command("studies", "show", "eyes-1")
    assert told.code == 0
    assert "0 of 9 trials ended: none" in told.out


def test_an_option_belongs_after_the_command(runs: Path, whc_command: Callable[..., Any]) -> None:
    told = whc_command("studies", "--json", "show", "hands-1")
    assert (told.code, told.out) == (2, "")
    assert whc_command("studies", "--help").out.startswith("Usage: whc studies ")


def test_the_list_is_light(runs: Path) -> None:
    command = [sys.executable, "-c", LIST_ALONE, "studies", "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "hands-1" in done.stdout
    assert done.stderr == "[]\n"
