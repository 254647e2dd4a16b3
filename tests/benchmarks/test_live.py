"""Our search against what one would wire by hand (by_hand.py), live: same space, data, workers and minutes, by turns.

What both found is then timed together, when nothing else runs: a search's own timings are of a busy machine.
$WHC_MINUTES (8) and $WHC_SEEDS (0,1) say for how long and with which seeds; nothing else should run meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from whc import records
from whc.latency.bench import bench
from whc.latency.timing import Protocol
from whc.pareto import Point, hypervolume
from whc.plugins import ChoiceOf
from whc.records import StudyRecord
from whc.records.results import study_reference

pytestmark = pytest.mark.bench

MINUTES = float(os.environ.get("WHC_MINUTES", "8"))
SEEDS = list(map(int, os.environ.get("WHC_SEEDS", "0,1").split(",")))
QUICK = Protocol(max_s=90)  # for some dozens of files at once
RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")


@dataclass(frozen=True)
class Found:
    """A finished trial: after how many seconds of searching, and what it came to."""

    seconds: float
    val_score: float
    file: Path


def ours(folder: Path, data: Path) -> tuple[StudyRecord, list[Found]]:
    """What `whc search` finds."""
    command = [sys.executable, "-c", "from whc.cli import main; main()", "search", "--space", "space.yaml"]
    arguments = ["--data", str(data), "--minutes", str(MINUTES), "--trials", "100000", "--study", "ours"]
    subprocess.run([*command, *arguments], cwd=folder, check=True, capture_output=True)
    study = folder / "runs" / "ours"
    found = []
    for one in records.trial_records(study):
        if one.state == "finished":
            assert one.val_score is not None
            found.append(Found(one.elapsed_s, one.val_score, study / "trials" / one.trial_id / "model.onnx"))
    return StudyRecord.load(study), found


def theirs(folder: Path, data: Path, seed: int) -> list[Found]:
    """What by_hand.py finds."""
    script, out = Path(__file__).with_name("by_hand.py"), folder / "by_hand.json"
    command = [sys.executable, script, "space.yaml", data, str(MINUTES), str(seed), out]
    subprocess.run(list(map(str, command)), cwd=folder, check=True, capture_output=True)
    return [Found(row["seconds"], row["val_score"], folder / row["file"]) for row in json.loads(out.read_text())]


@pytest.mark.parametrize(("name", "folder_of_data"), [("smile", "smile"), ("head_pose", "headpose")])
def test_hypervolume_live(name: str, folder_of_data: str, shared: Path, tmp_path: Path) -> None:
    data = (shared / "data" / folder_of_data / "dataset.parquet").resolve()
    ratios, times = [], []
    print(f"\n{name}, {MINUTES:.0f} minutes each, hypervolume at a quarter, half, three quarters and the end:")
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "space.yaml").write_text(f"include: {name}\nname: live\nseed: {seed}\n")
        study, found = ours(folder, data)
        both = {"ours": found, "by hand": theirs(folder, data, seed)}
        files = {str(one.file): one.file for rows in both.values() for one in rows}
        timed = bench(files, RUNTIME, QUICK, study.reference_ms)
        reference = study_reference(study, [])
        at = 60 * MINUTES * np.linspace(0, 1, 41)[1:]
        volumes = {}
        for who, rows in both.items():
            points = [(one.seconds, Point(one.val_score, timed[str(one.file)].ms)) for one in rows]
            volumes[who] = [hypervolume([point for when, point in points if when <= until], reference) for until in at]
            shown = ", ".join(f"{volumes[who][place]:.4f}" for place in (9, 19, 29, 39))
            print(f"  seed {seed}, {who}: {shown}; {sum(when <= at[-1] for when, _ in points)} finished")
        last = volumes["by hand"][-1]
        ratios.append(volumes["ours"][-1] / last)
        sooner = [until for until, volume in zip(at, volumes["ours"], strict=True) if volume >= last]
        times.append(sooner[0] / at[-1] if sooner else float("inf"))
        print(f"  seed {seed}: {ratios[-1]:.3f} of by hand, whose last is reached after {times[-1]:.2f} of the time")
    assert np.mean(ratios) > 1
