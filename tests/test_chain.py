"""The real chain on rendered data, through the command line alone: search, build-table, registry, demo."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest

from whc import records

pytestmark = pytest.mark.slow

SPACE = """
name: chain
recipe: {recipe}
trials: 3
limits: {{latency_ms: 5}}
space:
  model:
    backbone: [baseline, inverted_se]
    sequence: {{frame_stack: {{frames: [4, 6]}}}}
    color: [rgb, luma]
    width: [4, 8]
    depth: 2
    image_size: [16, 24]
    dropout: 0
  training:
    epochs: {epochs}
    batch_size: 32
    lr: {{float: [5e-3, 2e-2], log: true}}
    resampling: [none, balanced]
"""


def whc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    command = [sys.executable, "-c", "from whc.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def result(folder: Path, *arguments: str) -> Any:
    """The JSON that a command prints."""
    done = whc(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def write_space(folder: Path, epochs: int) -> None:
    (folder / "recipe.yaml").write_text(
        "prefix: chain\nmin_gain: 0\nmin_over_constant: 0\ntiming: {min_rounds: 10, max_rounds: 30}\n"
    )
    (folder / "space.yaml").write_text(SPACE.format(recipe=folder / "recipe.yaml", epochs=epochs))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with rendered data and one finished search."""
    folder = tmp_path_factory.mktemp("user")
    write_space(folder, epochs=6)
    data = result(folder, "data", "synth", "--out", "data", "--clips", "60")["data"]
    found = result(folder, "search", "--space", "space.yaml", "--data", data)
    assert found["study"] == "chain-1"
    assert found["complete"]
    assert sum(found["states"].values()) == 3
    return folder


def test_search_to_demo(folder: Path) -> None:
    table = result(folder, "factory", "build-table")
    assert table["study"] == "chain-1"
    names = [row["name"] for row in table["variants"]]
    assert names
    for row in table["variants"]:
        assert (folder / "runs" / "chain-1" / row["onnx"]).is_file()

    summary = result(folder, "demo", "--model", names[-1], "--save", "demo.mp4", "--csv", "demo.csv", "--headless")
    assert summary["decisions"] > 50
    video = cv2.VideoCapture(str(folder / "demo.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == summary["frames"]
    rows = (folder / "demo.csv").read_text().splitlines()
    assert len(rows) == summary["frames"] + 1

    unknown = whc(folder, "demo", "--model", "chain_x")
    assert unknown.returncode == 1
    assert names[-1] in unknown.stderr


def test_the_study_on_disk(folder: Path) -> None:
    study = folder / "runs" / "chain-1"
    assert {"study.yaml", "optuna.journal", "trials.parquet", "trials"} <= {path.name for path in study.iterdir()}
    assert not (study / ".ray").exists()
    again = whc(folder, "search", "--space", "space.yaml", "--data", "data/dataset.parquet", "--study", "chain-1")
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert "--resume" in again.stderr


def test_kill_9_loses_no_finished_trial_and_resume_runs_none_twice(folder: Path, tmp_path: Path) -> None:
    write_space(folder, epochs=40)
    command = [sys.executable, "-c", "from whc.cli import main; main()"]
    arguments = ["search", "--space", "space.yaml", "--data", "data/dataset.parquet", "--study", "killed"]
    study = folder / "runs" / "killed"
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen([*command, *arguments], cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not list((study / "trials").glob("*/record.json")) and driver.poll() is None:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
    finally:
        driver.kill()
        driver.wait()
    finished = {path: path.stat().st_mtime_ns for path in (study / "trials").glob("*/record.json")}
    assert 1 <= len(finished) < 3
    # What a kill at the worst moment leaves: a torn last line, and Optuna's lock file.
    (study / "optuna.journal").write_bytes((study / "optuna.journal").read_bytes()[:-7])
    (study / "optuna.journal.lock").touch()

    resumed = result(folder, "search", "--resume", "--study", "killed")
    assert resumed["complete"]
    assert sum(resumed["states"].values()) == 3
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert len(list(records.trial_records(study))) == 3

    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = JournalStorage(JournalFileBackend(str(study / "optuna.journal")))
    states = [trial.state.name for trial in optuna.load_study(study_name="killed", storage=journal).trials]
    assert "RUNNING" not in states
    assert states.count("COMPLETE") == resumed["states"]["finished"]


def test_a_killed_worker_costs_no_trial(folder: Path, tmp_path: Path) -> None:
    write_space(folder, epochs=40)
    command = [sys.executable, "-c", "from whc.cli import main; main()"]
    arguments = ["search", "--space", "space.yaml", "--data", "data/dataset.parquet", "--study", "orphaned"]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen([*command, *arguments], cwd=folder, stdout=log, stderr=log)
    try:
        worker = training(driver)
        while not worker:
            assert driver.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
            worker = training(driver)
        worker.kill()
        assert driver.wait(timeout=240) == 0, (tmp_path / "log").read_text()
    finally:
        driver.kill()
        driver.wait()
    ended = list(records.trial_records(folder / "runs" / "orphaned"))
    assert len(ended) == 3
    assert {one.state for one in ended} <= {"finished", "stopped"}


def training(driver: subprocess.Popen[bytes]) -> psutil.Process | None:
    """A worker of a search that trains: it has used some seconds of its core."""
    try:
        workers = psutil.Process(driver.pid).children(recursive=True)
        return next((one for one in workers if one.name().startswith("ray::Impl") and one.cpu_times().user > 4), None)
    except psutil.NoSuchProcess:
        return None
