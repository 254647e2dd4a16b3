"""`whc data build` as users meet it: what it prints, what it refuses and in which words, and Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

Run = Callable[..., Any]


def put(name: str, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())


@pytest.fixture
def crops(home: Path) -> Path:
    """`crops/` holds 12 pictures of each class, `done/` is split already; the current folder is theirs."""
    for i in range(12):
        put(f"crops/no/p{i // 2}_{i}.png", i)
        put(f"crops/yes/p{i // 2}_{i}.png", 100 + i)
        put(f"done/{('train', 'val', 'test')[i % 3]}/{('no', 'yes')[i % 2]}/{i}.png", 200 + i)
    return home / "crops"


def test_what_it_prints(crops: Path, whc_command: Run) -> None:
    Path("crops/no/notes.txt").touch()
    (crops / "no" / "[bold]link.png").symlink_to(crops / "no" / "p0_0.png")
    (crops / "yes" / "p9_cut.png").write_bytes((crops / "yes" / "p0_0.png").read_bytes()[:300])
    ended = whc_command(
        "data", "build", "--images", "crops", "--split", "70/15/15", "--group", "person", "--out", "out"
    )
    assert (ended.code, ended.err) == (0, "")
    lines = [line.replace("│", " ").split() for line in ended.out.splitlines()]
    assert ended.out.startswith("out/dataset.parquet: 24 rows\n")
    assert ["no", "8", "2", "2"] in lines
    assert ["yes", "8", "2", "2"] in lines
    assert ["share", "66.7%", "16.7%", "16.7%"] in lines
    assert ["groups", "4", "1", "1"] in lines
    assert "left out, link: 1 (no/[bold]link.png: symbolic links are not followed)\n" in ended.out
    assert "left out, other: 1 (no/notes.txt: none of the images that can be read)\n" in ended.out
    assert "left out, unreadable: 1 (yes/p9_cut.png: cannot be decoded)\n" in ended.out
    assert ended.out.endswith("report: out/report/report.html, out/report/report.json\n")
    info = whc_command("data", "info", "out/dataset.parquet")
    assert "people in more than one split: 0\n" in info.out
    assert "clips: by the folder of image_path, in order of image_path, as timestamp is the same everywhere" in info.out


def test_json_is_the_report(crops: Path, whc_command: Run) -> None:
    del crops
    ended = whc_command("data", "build", "--images", "done", "--labels", "yes, no", "--out", "out", "--json")
    told = json.loads(ended.out)
    assert told == json.loads(Path("out/report/report.json").read_text(encoding="utf-8"))
    assert told["labels"] == ["yes", "no"]
    assert told["config"] == {
        "kind": "images",
        "folder": "done",
        "csv": None,
        "split": None,
        "group": None,
        "labels": ["yes", "no"],
        "label_path": None,
        "classes": None,
        "lists": [],
        "fps": None,
        "min_frames": None,
        "crop": None,
        "seed": 0,
    }


def test_videos_are_sampled_at_ten_frames_a_second(home: Path, whc_command: Run) -> None:
    for clip in range(6):
        path = home / "clips" / ("no", "yes")[clip % 2] / f"{clip}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 30, (32, 32))
        for frame in range(12):
            writer.write(np.random.default_rng(clip * 50 + frame).integers(0, 256, (32, 32, 3), np.uint8))
        writer.release()
    (home / "clips" / "no" / "torn.mp4").write_bytes((home / "clips" / "no" / "0.mp4").read_bytes()[:-700])
    ended = whc_command("data", "build", "--videos", "clips", "--split", "60/20/20", "--out", "out", "--json")
    told = json.loads(ended.out)
    assert ended.err == ""
    assert (told["frame_rate"], told["rows"], told["config"]["min_frames"]) == (10, 24, 2)
    assert [split["clips"] for split in told["splits"].values()] == [2, 2, 2]
    (left,) = told["left_out"]
    assert (left["name"], left["reason"]) == ("no/torn.mp4", "unreadable")


SPLIT = "--images crops --split 70/15/15 --out out"
CASES: dict[str, tuple[str, int, str, str]] = {
    "nothing to read": (
        "--out out",
        2,
        "--images, --videos: one of them must be given, got 'neither'",
        "give the folder",
    ),
    "both": (
        f"{SPLIT} --videos crops",
        2,
        "--images, --videos: one of them must be given, got 'both'",
        "give the folder",
    ),
    "no folder": ("--images gone --out out", 1, "gone: must be a readable folder, got: No such file", "check the path"),
    "not split": (
        "--images crops --out out",
        1,
        "crops: must hold the folders train and val, and test to score it, got",
        "--split 70/15/15",
    ),
    "split already": (
        "--images done --split 70/15/15 --out out",
        2,
        "--split: must be left out, as done is split already",
        "leave it out",
    ),
    "shares": ("--images crops --split 70/30 --out out", 2, "--split: must be the shares of train", "write 70/15/15"),
    "outside the map": (
        f"{SPLIT} --labels no",
        1,
        "crops: labels must not lie outside the map no, got ['yes']",
        "add them to --labels",
    ),
    "label without a folder": (f"{SPLIT} --labels no,yes,maybe", 1, "crops: must hold a folder for each", "add maybe"),
    "labels twice": (
        f"{SPLIT} --labels no,no",
        2,
        "--labels: must be different names, got 'no,no'",
        "write no_smiling",
    ),
    "classes of class folders": (
        f"{SPLIT} --task classification --classes no",
        2,
        "--classes: must be left out, as this task's labels are not in files beside the pictures, got 'no'; ",
        "leave it out, or name another task with --task",
    ),
    "lists of class folders": (
        "--images crops --out out --task classification --lists train.txt",
        2,
        "--lists: must be left out",
        "--task",
    ),
    "file of labels of class folders": (
        f"{SPLIT} --task classification --labels no.json",
        2,
        "--labels: must be left out, as this task's labels are not in files beside the pictures, got 'no.json'",
        "--task",
    ),
    "classes twice": (
        f"{SPLIT} --classes 0,0",
        2,
        "--classes: must be different names, got '0,0'",
        "write person,hand",
    ),
    "group of words": (f"{SPLIT} --group persn", 2, "--group: must be person, video or a regular", "write such as"),
    "group that does not fit": (f"{SPLIT} --group (x)", 1, "--group (x): every file must belong to a group", "rename"),
    "too few groups": (
        f"{SPLIT} --group ^(.)",
        1,
        "crops: every split must have rows of every class, got 1 groups of 'no' for 3 splits",
        "make groups smaller",
    ),
    "fps of pictures": (
        f"{SPLIT} --fps 5",
        2,
        "--fps, --min-frames: must go with --videos, got --images",
        "leave them",
    ),
    "no clips": (
        "--videos crops --split 70/15/15 --out out",
        1,
        "crops/no: must hold videos, got {'.png': 12}",
        "or use --images",
    ),
    "no rate": (
        "--videos crops --split 70/15/15 --out out --fps nan",
        2,
        "whc data build: fps: must be less than or equal to 1000, got nan",
        "change the value",
    ),
    "out within": ("--images crops --out crops/out", 2, "--out: must lie outside crops", "choose another folder"),
    "out is a file": (
        "--images crops --split 70/15/15 --out done/train/no/0.png",
        2,
        "--out: must be a folder, got",
        "choose another path",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, crops: Path, whc_command: Run) -> None:
    del crops
    arguments, code, begins, next_step = CASES[case]
    ended = whc_command("data", "build", *arguments.split())
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {begins}")
    assert next_step in line.rpartition("; ")[2] or f"; {next_step}" in line
    assert (ended.code, ended.out) == (code, "")
    assert not Path("out").exists()


def test_a_signal_leaves_nothing_behind(home: Path) -> None:
    for i in range(400):
        put(f"crops/{('no', 'yes')[i % 2]}/{i}.png", i)
    program = (
        "import time, whc.data.reading, whc.cli\n"
        "picture = whc.data.reading._picture\n"
        "def told(source):\n"
        "    print('reading', flush=True)\n"
        "    time.sleep(0.5)\n"
        "    return picture(source)\n"
        "whc.data.reading._picture = told\n"
        "whc.cli.main()\n"
    )
    command = [
        sys.executable,
        "-c",
        program,
        "data",
        "build",
        "--images",
        "crops",
        "--split",
        "70/15/15",
        "--out",
        "out",
    ]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("reading")  # several threads print
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        _, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < 5
    assert (process.returncode, err.strip()) == (128 + signal.SIGTERM, "interrupted")
    assert not (home / "out").exists()
