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
SEED_NOISE = 0.06  # two standard deviations of the ratio of two searches of 8 minutes on the bed, 0.022 each
RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")


@dataclass(frozen=True)
class Found:
    """A finished trial: after how many seconds of searching, and what it came to."""

    seconds: float
    val_score: float
    file: Path


def ours(space: Path, data: Path, minutes: float) -> tuple[StudyRecord, list[Found]]:
    """What `whc search` finds."""
    command = [sys.executable, "-c", "from whc.cli import main; main()", "search", "--space", space.name]
    arguments = ["--data", str(data), "--minutes", str(minutes), "--trials", "100000", "--study", f"{minutes:.0f}"]
    subprocess.run([*command, *arguments], cwd=space.parent, check=True, capture_output=True)
    study = space.parent / "runs" / f"{minutes:.0f}"
    found = []
    for one in records.trial_records(study):
        if one.state == "finished":
            assert one.val_score is not None
            found.append(Found(one.elapsed_s, one.val_score, study / "trials" / one.trial_id / "model.onnx"))
    return StudyRecord.load(study), found


def theirs(space: Path, data: Path, seed: int) -> list[Found]:
    """What by_hand.py finds."""
    folder, script = space.parent, Path(__file__).with_name("by_hand.py")
    command = [sys.executable, script, space.name, data, MINUTES, seed, "by_hand.json"]
    subprocess.run(list(map(str, command)), cwd=folder, check=True, capture_output=True)
    rows = json.loads((folder / "by_hand.json").read_text())
    return [Found(row["seconds"], row["val_score"], folder / row["file"]) for row in rows]


def space_of(name: str, seed: int, folder: Path) -> Path:
    """A file that searches a shipped space with a seed, in a folder of its own."""
    path = folder / str(seed) / "space.yaml"
    path.parent.mkdir()
    path.write_text(f"include: {name}\nname: live\nseed: {seed}\n")
    return path


def volumes(study: StudyRecord, searches: list[list[Found]], at: list[float]) -> list[list[float]]:
    """The hypervolume of each search after so many seconds each; the networks of all are timed by turns."""
    files = {str(one.file): one.file for rows in searches for one in rows}
    timed = bench(files, RUNTIME, QUICK, study.reference_ms)
    reference = study_reference(study, [])
    curves = []
    for rows in searches:
        points = [(one.seconds, Point(one.val_score, timed[str(one.file)].ms)) for one in rows]
        curves.append([hypervolume([point for when, point in points if when <= until], reference) for until in at])
    return curves


@pytest.mark.parametrize(("name", "folder_of_data"), [("smile", "smile"), ("head_pose", "headpose")])
def test_hypervolume_live(name: str, folder_of_data: str, shared: Path, tmp_path: Path) -> None:
    data = (shared / "data" / folder_of_data / "dataset.parquet").resolve()
    at = [60 * MINUTES * share for share in np.linspace(0, 1, 41)[1:]]
    ratios, times = [], []
    print(f"\n{name}, {MINUTES:.0f} minutes each, hypervolume at a quarter, half, three quarters and the end:")
    for seed in SEEDS:
        space = space_of(name, seed, tmp_path)
        study, found = ours(space, data, MINUTES)
        searches = [found, theirs(space, data, seed)]
        own, hand = curves = volumes(study, searches, at)
        for who, rows, curve in zip(("ours", "by hand"), searches, curves, strict=True):
            shown = ", ".join(f"{curve[place]:.4f}" for place in (9, 19, 29, 39))
            finished = sum(one.seconds <= at[-1] for one in rows)
            print(f"  seed {seed}, {who}: {shown}; {finished} finished")
        ratios.append(own[-1] / hand[-1])
        sooner = [until for until, volume in zip(at, own, strict=True) if volume >= hand[-1]]
        times.append(sooner[0] / at[-1] if sooner else float("inf"))
        print(f"  seed {seed}: {ratios[-1]:.3f} of by hand, whose last is reached after {times[-1]:.2f} of the time")
    assert np.mean(ratios) > 1


def test_twice_the_minutes(shared: Path, tmp_path: Path) -> None:
    """With the same seed, a search of twice the time ends no lower."""
    data = (shared / "data" / "smile" / "dataset.parquet").resolve()
    ratios = []
    print(f"\nsmile, hypervolume at the end of searches of {MINUTES:.0f} and {2 * MINUTES:.0f} minutes:")
    for seed in SEEDS:
        space = space_of("smile", seed, tmp_path)
        study, short = ours(space, data, MINUTES)
        _, long = ours(space, data, 2 * MINUTES)
        (_, less), (same, more) = volumes(study, [short, long], [60 * MINUTES, 120 * MINUTES])
        ratios.append(more / less)
        print(f"  seed {seed}: {less:.4f} and {more:.4f}, {ratios[-1]:.3f} times (half-way: {same:.4f})")
    assert min(ratios) > 1 - SEED_NOISE
