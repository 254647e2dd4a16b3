"""The real chain on rendered data, through the command line alone: search, build-table, registry, demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain")]  # which share a fixture


def whc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, with the home folder `home` below that folder."""
    command = [sys.executable, "-c", "from whc.cli import main; main()", *arguments]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_", "MPL"))}
    env = ours | {"HOME": str(folder / "home")}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)


def result(folder: Path, *arguments: str) -> Any:
    """The JSON that a command prints."""
    done = whc(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_space: Callable[..., None]) -> Path:
    """A user's folder with rendered data and one finished search."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "home").mkdir()
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
        assert (folder / "runs" / "chain-1" / row["file"]).is_file()
    assert [model["name"] for model in result(folder, "models")] == names
    assert result(folder, "factory", "register")["promoted"]  # nothing is left to do

    summary = result(folder, "demo", "--model", names[-1], "--save", "demo.webm", "--csv", "demo.csv", "--headless")
    assert summary["decisions"] > 50
    video = cv2.VideoCapture(str(folder / "demo.webm"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == summary["frames"]
    rows = (folder / "demo.csv").read_text().splitlines()
    assert len(rows) == summary["frames"] + 1

    program = """
import click, sys
from whc.cli import _options
siblings = _options.siblings(sys.argv[1])
with click.Context(click.Command("demo")):
    print(*(name for name, file in siblings() if file.is_file()))
"""
    command = [sys.executable, "-c", program, f"{names[-1]}@champion"]
    listed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert listed.split() == names  # among which a key of the demo changes

    unknown = whc(folder, "demo", "--model", "chain_x")
    assert unknown.returncode == 1
    assert names[-1] in unknown.stderr


def test_a_ladder_from_data_without_a_test_split(folder: Path) -> None:
    rows = pq.read_table(folder / "data" / "dataset.parquet")
    pq.write_table(rows.filter(pc.not_equal(rows["split"], "test")), folder / "untested.parquet")
    asked = ("--space", "space.yaml", "--data", "untested.parquet", "--study", "untested", "--trials", "2")
    assert result(folder, "search", *asked)["complete"]
    built = whc(folder, "factory", "build-table", "--study", "untested")
    assert built.returncode == 0, built.stderr
    assert "no test split: nothing was scored on test" in built.stdout
    table = json.loads((folder / "runs" / "untested" / "table.json").read_text())
    assert [row["score"] for row in table["variants"]] == [None] * len(table["variants"])
    # Of two trials it may well be worse than the ladder before, and is then not promoted.
    reason = ("--force", "--reason", "a ladder without a test split")
    assert result(folder, "factory", "promote", "--study", "untested", *reason)["promoted"]
    name = table["variants"][-1]["name"]
    predicted = result(folder, "predict", "--model", name, "--source", "untested.parquet", "--out", "untested.csv")
    assert predicted["scores"].keys() == {"train", "val"}
    assert result(folder, "demo", "--model", name, "--csv", "untested.csv", "--headless")["decisions"] > 50


def test_the_study_on_disk(folder: Path) -> None:
    study = folder / "runs" / "chain-1"
    assert {"study.yaml", "optuna.journal", "trials.parquet", "trials"} <= {path.name for path in study.iterdir()}
    assert not (study / ".ray").exists()
    again = whc(folder, "search", "--space", "space.yaml", "--data", "data/dataset.parquet", "--study", "chain-1")
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert "--resume" in again.stderr


def test_what_is_left_in_the_home_folder(folder: Path) -> None:
    """After all of the above, a training and its export: what README says, nothing else."""
    data = "data/dataset.parquet"
    result(folder, "train", "--data", data, "--out", "run", "--set", "training.epochs=1")
    result(folder, "export", "--checkpoint", "run/checkpoint.pt", "--out", "run/model.onnx")
    result(folder, "predict", "--model", "run/model.onnx", "--source", data, "--out", "run/predicted.csv")
    home = folder / "home"
    left = {str(path.relative_to(home)) for path in home.rglob("*")}
    fonts = {path for path in left if path.startswith(".cache/matplotlib/fontlist-")}
    assert left - fonts <= {".config", ".config/matplotlib", ".cache", ".cache/matplotlib"}
