"""What smoothing over time does: label changes a minute on face clips, and the delay on rendered waves.

    WHC_SMILE=study/ladder WHC_WAVE=study/ladder pytest tests/benchmarks/test_flicker.py -s -m bench

The variables name folders of two ladders' .onnx files: of search_spaces/smile.yaml, and of search_spaces/tiny.yaml.
"""

from __future__ import annotations

import json
import os
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whc.data.synthetic import FRAME_RATE, Motion, clip
from whc.demo import detectors
from whc.demo import model as models
from whc.demo.events import EventOptions, States
from whc.demo.people import Finder
from whc.demo.regions import WHOLE_FRAME
from whc.demo.run import run
from whc.demo.viewing import watch_region

pytestmark = pytest.mark.bench

FACES = ("asl_yes.mkv", "asl_thanks.mkv", "asl_sister.mkv", *(
    f"head-pose-face-detection-{who}.mp4" for who in ("male", "female", "female-and-male")
))  # fmt: skip
HOLD_S = 3.0  # for which a rendered hand waves, or does not
ROUNDS = 40


def ladder(variable: str) -> list[Path]:
    """The variants of a ladder, fastest first."""
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"needs the folder of a ladder in {variable}")
    letters = "PNTSCML"
    files = [path for path in Path(folder).glob("*.onnx") if "." not in path.stem]
    return sorted(files, key=lambda path: letters.index(path.stem[-1].upper()))


def changes(path: Path) -> tuple[int, float]:
    """How often the state of a person changes in a JSONL file, after the first one, and the people's minutes."""
    by_person: dict[Any, list[tuple[float, str]]] = {}
    for line in path.read_text("utf-8").splitlines():
        frame = json.loads(line)
        for person in frame["people"]:
            if person["state"]:
                by_person.setdefault(person["person"], []).append((frame["seconds"], person["state"]))
    count = sum(before[1] != after[1] for states in by_person.values() for before, after in pairwise(states))
    return count, sum(states[-1][0] - states[0][0] for states in by_person.values()) / 60


def test_label_changes_on_faces(shared: Path, tmp_path: Path) -> None:
    detector = detectors.load(str(shared / "models" / "face_detection_yunet_2026may.onnx"))
    for model in ladder("WHC_SMILE"):
        totals = {}
        for is_smoothed in (False, True):
            found = []
            for name in FACES:
                out = tmp_path / f"{model.stem}-{name}-{is_smoothed}.jsonl"
                source = str(shared / "data" / "video" / name)
                run(model, source, region=Finder(detector), events=EventOptions(is_smoothed, out))
                found.append(changes(out))
            totals[is_smoothed] = sum(count for count, _ in found) / sum(minutes for _, minutes in found)
            each = ", ".join(f"{name.split('.')[0]} {count}" for name, (count, _) in zip(FACES, found, strict=True))
            print(
                f"\n{model.stem}, smoothed {is_smoothed}: {totals[is_smoothed]:.1f} changes a minute ({each})", end=""
            )
        assert totals[True] <= totals[False]


def reel() -> tuple[np.ndarray, np.ndarray]:
    """Rendered hands of many people, who wave and do not by turns, and whether each frame is of a waving one."""
    frames = round(HOLD_S * FRAME_RATE)
    kinds: list[Motion] = ["still", "waving", "passing", "waving", "opening", "waving", "drifting", "waving"]
    motions = [kinds[number % len(kinds)] for number in range(ROUNDS)]
    pictures = [clip(1000 + number, motion, frames) for number, motion in enumerate(motions)]
    return np.concatenate(pictures), np.repeat([motion == "waving" for motion in motions], frames)


def test_delay_on_rendered_waves() -> None:
    pictures, truth = reel()
    for path in ladder("WHC_WAVE"):
        model = models.load(path)
        laws = {"raw": False, f"smoothed {model.answers.smoothing}": True}
        watch = watch_region(model, WHOLE_FRAME, FRAME_RATE)
        sightings = [watch(picture, number / FRAME_RATE) for number, picture in enumerate(pictures)]
        for name, is_smoothed in laws.items():
            states = States(model.answers, is_smoothed)
            names = []
            for number, seen in enumerate(sightings):
                (followed,), _ = states.follow(seen, number / FRAME_RATE)
                assert followed.status
                names.append(followed.status.name == model.metadata.labels[1])
            delays, missed = delays_of(np.array(names), truth)
            minutes = len(truth) / FRAME_RATE / 60
            count = int((np.diff(np.array(names, int)) != 0).sum())
            real = int((np.diff(truth.astype(int)) != 0).sum())
            right = np.mean([np.mean(np.array(names)[truth == kind] == kind) for kind in (False, True)])
            print(
                f"\n{path.stem}, {name}: {count / minutes:.0f} changes a minute (truth {real / minutes:.0f}), "
                f"delay {statistics.median(delays):.0f} frames (mean {np.mean(delays):.1f}), "
                f"{missed} of {real} changes missed, balanced accuracy by frame {right:.3f}",
                end="",
            )


def delays_of(states: np.ndarray, truth: np.ndarray) -> tuple[list[int], int]:
    """Frames from each change of the truth until the state is that, and how many it never follows."""
    borders = [*(np.flatnonzero(np.diff(truth.astype(int))) + 1).tolist(), len(truth)]
    delays, missed = [], 0
    for begin, end in pairwise(borders):
        right = np.flatnonzero(states[begin:end] == truth[begin])
        if len(right):
            delays.append(int(right[0]))
        else:
            missed += 1
    return delays, missed
