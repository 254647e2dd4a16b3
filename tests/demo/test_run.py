from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from whc.data.preprocess import Image, resize, to_input
from whc.demo import model as models
from whc.demo.regions import Region
from whc.demo.run import DemoSummary, Playing, run
from whc.errors import ArtifactError, DataError, UsageError
from whc.runtimes import onnxruntime_cpu

Build = Callable[..., Path]
Grey = Callable[..., Image]
LIGHT_AND_DARK = (30, 200, 100, 255)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def frames_of(path: Path) -> tuple[int, float, tuple[int, ...]]:
    capture = cv2.VideoCapture(str(path))
    fps, count, shape = capture.get(cv2.CAP_PROP_FPS), 0, ()
    while (read := capture.read())[0]:
        count, shape = count + 1, read[1].shape
    return count, fps, shape


def test_folder_of_stills(brightness_model: Build, image_folder: Build, grey: Grey, tmp_path: Path) -> None:
    folder = image_folder([grey(shade) for shade in LIGHT_AND_DARK])
    (folder / "readme.md").write_text("skip me")
    summary = run(brightness_model(), str(folder), save=tmp_path / "new" / "out.webm", csv=tmp_path / "out.csv")
    assert (summary.frames, summary.decisions, summary.headline) == (4, 4, ["bright"])
    assert summary.latency_ms_p50 is not None
    assert summary.latency_ms_p50 > 0
    assert summary.notes == ["1 files skipped that are no images"]
    table = rows(tmp_path / "out.csv")
    assert [row["label"] for row in table] == ["dark", "bright", "dark", "bright"]
    assert [row["positive"] for row in table] == ["0", "1", "0", "1"]
    assert [float(row["probability"]) for row in table] == pytest.approx([s / 255 for s in LIGHT_AND_DARK], abs=1e-6)
    assert [row["frame"] for row in table] == ["0", "1", "2", "3"]
    assert list(table[0]) == ["frame", "seconds", "label", "probability", "positive", "latency_ms", "state", "event"]
    assert summary.shares == {"dark": 0.5, "bright": 0.5}
    assert "; 4 decisions, 50% bright; median latency" in summary.line()
    assert frames_of(tmp_path / "new" / "out.webm") == (4, 10.0, (320, 320, 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bright.onnx", "images", "new", "out.csv"]


def test_folder_of_three_classes(colour_model: Build, image_folder: Build, grey: Grey, tmp_path: Path) -> None:
    pictures = [grey(40) for _ in range(4)]
    for picture, channel in zip(pictures, (0, 0, 1, 0), strict=True):
        picture[..., channel] = 240
    summary = run(colour_model(), str(image_folder(pictures)), save=tmp_path / "out.webm", csv=tmp_path / "out.csv")
    assert summary.headline == []
    assert summary.shares == {"red": 0.75, "green": 0.25, "blue": 0}
    assert "; 4 decisions, 75% red, 25% green; median latency" in summary.line()
    table = rows(tmp_path / "out.csv")
    each = ["prob_red", "prob_green", "prob_blue"]
    assert list(table[0]) == ["frame", "seconds", "label", "probability", *each, "latency_ms", "state", "event"]
    assert [row["label"] for row in table] == ["red", "red", "green", "red"]
    for row in table:
        assert sum(float(row[name]) for name in each) == pytest.approx(1, abs=1e-5)
        assert float(row["probability"]) == max(float(row[name]) for name in each)
        assert row["probability"] == row[f"prob_{row['label']}"]
    assert frames_of(tmp_path / "out.webm")[0] == 4


def test_threshold_decides_nothing_among_three(colour_model: Build, image_folder: Build, grey: Grey) -> None:
    folder = image_folder([grey(100)])
    assert run(colour_model(task_config={"threshold": 0.9}), str(folder)).shares == {"red": 1, "green": 0, "blue": 0}


def test_window_holds_frames_at_the_models_rate(change_model: Build, video: Build, grey: Grey, tmp_path: Path) -> None:
    # At 30 frames a second a window of 4 at 10 a second holds frames 0, 3, 6, 9; the light goes on at frame 12.
    clip = video([grey(0 if number < 12 else 255) for number in range(30)])
    files = {"csv": tmp_path / "out.csv", "save": tmp_path / "o.webm"}
    summary = run(change_model(frames=4, frame_rate=10.0), str(clip), **files)
    table = rows(tmp_path / "out.csv")
    assert [row["frame"] for row in table if row["latency_ms"]] == ["9", "12", "15", "18", "21", "24", "27"]
    assert all(row["label"] == "" for row in table[:9])
    assert [row["frame"] for row in table if row["positive"] == "1"] == [str(number) for number in range(12, 21)]
    assert (summary.frames, summary.decisions) == (30, 7)
    assert summary.shares["moved"] == pytest.approx(3 / 7)
    assert frames_of(tmp_path / "o.webm")[:2] == (30, 30.0)


def test_every_frame_enters_without_a_rate(change_model: Build, video: Build, grey: Grey) -> None:
    clip = video([grey(0)] * 10)
    assert run(change_model(frames=4, frame_rate=None), str(clip)).decisions == 7


def test_threshold_is_the_models(brightness_model: Build, image_folder: Build, grey: Grey) -> None:
    folder = image_folder([grey(200), grey(250)])
    assert run(brightness_model(task_config={"threshold": 0.9}), str(folder)).shares["bright"] == 0.5


def test_region_is_what_the_model_sees(brightness_model: Build, image_folder: Build, grey: Grey) -> None:
    half = grey(0)
    half[:, 24:] = 255
    folder = image_folder([half])
    assert run(brightness_model(), str(folder), region=Region(0.5, 0, 0.5, 1)).shares["bright"] == 1
    assert run(brightness_model(), str(folder), region=Region(0, 0, 0.5, 1)).shares["bright"] == 0


def test_probability_is_what_the_trainers_preprocessing_gives(
    brightness_model: Build, image_folder: Build, tmp_path: Path
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    model = brightness_model()
    run(model, str(image_folder([picture])), csv=tmp_path / "out.csv")
    session = onnxruntime_cpu.load(model, onnxruntime_cpu.Config())
    expected = session.run(to_input(resize(picture, 16, 16)[None, None], "still"))[0]
    assert float(rows(tmp_path / "out.csv")[0]["probability"]) == pytest.approx(float(expected), abs=1e-6)


def test_stream_shorter_than_the_window(change_model: Build, image_folder: Build, grey: Grey, tmp_path: Path) -> None:
    summary = run(change_model(frames=8), str(image_folder([grey(0)] * 3)), save=tmp_path / "out.webm")
    assert (summary.frames, summary.decisions) == (3, 0)
    assert (summary.shares, summary.latency_ms_p50) == ({}, None)
    assert "no decision: the model needs 8 frames" in summary.line()
    assert frames_of(tmp_path / "out.webm")[0] == 3


def test_folder_of_mixed_sizes_makes_one_video(
    brightness_model: Build, image_folder: Build, grey: Grey, tmp_path: Path
) -> None:
    folder = image_folder([grey(10, 101, 333), grey(10, 600, 20), grey(10, 48, 48)])
    assert run(brightness_model(), str(folder), save=tmp_path / "out.webm").frames == 3
    assert frames_of(tmp_path / "out.webm")[0] == 3


@pytest.mark.parametrize("fps", [12.5, 24000 / 1001, 60.0])
def test_video_keeps_its_rate(brightness_model: Build, video: Build, grey: Grey, tmp_path: Path, fps: float) -> None:
    run(brightness_model(), str(video([grey(10)] * 5, fps)), save=tmp_path / "out.webm")
    count, written, _ = frames_of(tmp_path / "out.webm")
    assert (count, written) == (5, pytest.approx(fps, rel=1e-3))


def test_saved_video_keeps_the_times_of_the_frames(
    brightness_model: Build, make_matroska: Build, grey: Grey, tmp_path: Path
) -> None:
    """Of a recording that is dark, bright for a second, dark again, with frames where something changes."""
    seconds = [0, 0.033, 0.067, 0.1, 1.1, 1.133, 1.5, 3.0, 3.033]
    shades = [40, 60, 80, 200, 100, 120, 140, 160, 180]
    source = make_matroska([grey(shade, 180, 320) for shade in shades], seconds)
    summary = run(brightness_model(), str(source), save=tmp_path / "out.webm", csv=tmp_path / "out.csv")
    assert (summary.frames, len(rows(tmp_path / "out.csv"))) == (9, 9)
    capture = cv2.VideoCapture(str(tmp_path / "out.webm"), cv2.CAP_FFMPEG)
    shown = []
    while (read := capture.read())[0]:
        shown.append((capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, float(read[1][40:80].mean())))
    half = 0.5 / capture.get(cv2.CAP_PROP_FPS)
    assert shown[-1][0] == pytest.approx(3.033, abs=2 * half)
    for moment, shade in shown:
        near = [
            s for t, s, end in zip(seconds, shades, [*seconds[1:], 9], strict=True) if t - half <= moment <= end + half
        ]
        assert any(shade == pytest.approx(expected, abs=6) for expected in near)


def test_pictures_in_subfolders_and_a_single_one(brightness_model: Build, image_folder: Build, grey: Grey) -> None:
    folder = image_folder([grey(10)])
    (folder / "deeper").mkdir()
    (folder / "deeper" / "bright.png").write_bytes((image_folder([grey(250)], "other") / "000.png").read_bytes())
    assert run(brightness_model(), str(folder)).shares == {"dark": 0.5, "bright": 0.5}
    alone = run(brightness_model(), str(folder / "deeper" / "bright.png"))
    assert (alone.frames, alone.shares, alone.notes) == (1, {"dark": 0, "bright": 1}, [])


def test_default_source(change_model: Build) -> None:
    summary = run(change_model())
    assert summary.source == "rendered clip"
    assert summary.frames > 50
    assert summary.decisions == summary.frames - 3
    assert json.loads(summary.model_dump_json())["frames"] == summary.frames
    assert "\n" not in summary.line()
    assert "decisions" in summary.line()


def test_slow_source_is_told(change_model: Build, video: Build, grey: Grey) -> None:
    summary = run(change_model(frame_rate=10.0), str(video([grey(0)] * 6, fps=5)))
    assert summary.notes == ["the model was trained on 10 frames a second, the source has 5"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layout": "sideways"}, "layout: must be one of still, frame_stack"),
        ({"layout": "frame_stack", "frames": 3}, "layout: must describe the network's input"),
        ({"frames": 3}, "frames: must suit layout 'still'"),
        ({"frames": 0}, "must be positive"),
        (
            {"frames": 10**9},
            "frames, height, width: must make at most 50331648 numbers, and those of the network's input",
        ),
        ({"height": 60_000, "width": 30_000}, "frames, height, width: must make at most 50331648 numbers"),
        ({"height": 32}, "layout: must describe the network's input"),
        ({"task": "juggling"}, "task: must be one of classification"),
        ({"labels": ["dim", "dark", "bright"]}, "must give numbers of shape (3,) for each input"),
        ({"labels": ["bright"]}, "labels: must be two or more, all different, got ['bright']"),
        ({"labels": ["bright", "bright"]}, "labels: must be two or more, all different"),
        ({"frame_rate": -1.0}, "frame_rate: must be positive or null"),
        ({"resize": "crop"}, "resize: must be 'stretch'"),
        ({"interpolation": "magic"}, "interpolation: must be one of area, bilinear, bilinear_antialias"),
        (
            {"task_config": {"threshold": 2.0}},
            "whc.task_config: 'threshold': Input should be less than 1, got 2.0; upgrade whc or export",
        ),
        ({"task_config": {"output": "rotation"}}, "whc.task_config: 'output': Extra inputs are not permitted"),
    ],
)
def test_model_at_odds_with_its_metadata(brightness_model: Build, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        run(brightness_model(**changes))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": ["red", "green"]}, "must give one number for each input"),
        ({"labels": ["red", "green", "blue", "grey"]}, r"must give numbers of shape \(4,\) for each input"),
    ],
)
def test_three_probabilities_for_other_than_three_labels(
    colour_model: Build, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ArtifactError, match=said):
        run(colour_model(**changes))


@pytest.mark.parametrize("value", [1.5, -0.5, float("nan")])
def test_model_that_gives_no_probability(offset_model: Build, value: float) -> None:
    with pytest.raises(ArtifactError, match=rf"must give probabilities in 0\.\.1, got {value}"):
        run(offset_model(value))


def test_model_of_somebody_else(brightness_model: Build, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(brightness_model())
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(ArtifactError, match="must carry whc's metadata"):
        run(tmp_path / "foreign.onnx")


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="got nothing there"):
        run(tmp_path / "none.onnx")


def test_unknown_runtime(brightness_model: Build) -> None:
    with pytest.raises(UsageError, match=r"runtime: must be one of .*onnxruntime_cpu"):
        run(brightness_model(), load=partial(models.load, runtime="abacus"))


def test_outputs_are_removed_when_the_source_fails(brightness_model: Build, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run(brightness_model(), str(tmp_path / "none.mp4"), save=tmp_path / "out.webm", csv=tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["bright.onnx"]


@pytest.mark.parametrize("name", ["out.avi", "out", "folder.mp4", "bright.onnx/out.webm"])
def test_video_that_cannot_be_written(
    brightness_model: Build, image_folder: Build, grey: Grey, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UsageError) as caught:
        run(brightness_model(), str(image_folder([grey(0)])), save=tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob(".*"))


def test_encoder_that_refuses(
    brightness_model: Build, image_folder: Build, grey: Grey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda _: False)
    with pytest.raises(UsageError, match="must be a video that OpenCV can encode"):
        run(brightness_model(), str(image_folder([grey(0)])), save=tmp_path / "out.webm")
    assert not (tmp_path / "out.webm").exists()


def test_video_that_lost_frames_is_not_kept(
    brightness_model: Build, image_folder: Build, grey: Grey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = image_folder([grey(0)] * 3)
    monkeypatch.setattr(cv2.VideoWriter, "write", lambda *_: None)
    with pytest.raises(UsageError, match="must hold 3 frames, got 0"):
        run(brightness_model(), str(folder), save=tmp_path / "out.webm")
    assert not (tmp_path / "out.webm").exists()


def test_source_is_never_overwritten(brightness_model: Build, video: Build, grey: Grey) -> None:
    clip = video([grey(0)])
    before = clip.read_bytes()
    with pytest.raises(UsageError, match="must be another file than the source"):
        run(brightness_model(), str(clip), save=clip)
    assert clip.read_bytes() == before


class FakeScreen:
    """Stands in for OpenCV's windows; `key` is pressed on the third frame."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[Image] = []
        self.waits: list[int] = []
        self.visible = True
        self.destroyed = False
        self.key = -1
        monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "imshow", lambda _, picture: self.shown.append(picture))
        monkeypatch.setattr(cv2, "waitKey", self.wait)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: float(self.visible))
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: setattr(self, "destroyed", True))

    def wait(self, milliseconds: int) -> int:
        self.waits.append(milliseconds)
        time.sleep(milliseconds / 1000)
        return self.key if len(self.shown) == 3 else -1


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> FakeScreen:
    return FakeScreen(monkeypatch)


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_key_ends_the_show_and_finishes_the_files(
    brightness_model: Build, image_folder: Build, tmp_path: Path, screen: FakeScreen, key: int
) -> None:
    screen.key = key
    clip = image_folder([np.zeros((48, 48, 3), np.uint8)] * 20)
    files = {"csv": tmp_path / "out.csv", "save": tmp_path / "out.webm"}
    summary = run(brightness_model(), str(clip), **files, playing=Playing(is_shown=True))
    assert (summary.frames, len(screen.shown), screen.destroyed) == (3, 3, True)
    assert frames_of(tmp_path / "out.webm")[0] == len(rows(tmp_path / "out.csv")) == 3
    assert summary.notes == []
    assert not summary.interrupted


def test_closing_the_window_ends_the_show(
    brightness_model: Build, video: Build, grey: Grey, screen: FakeScreen
) -> None:
    screen.visible = False
    assert run(brightness_model(), str(video([grey(0)] * 5)), playing=Playing(is_shown=True)).frames == 1


def test_files_are_shown_at_their_own_speed(
    brightness_model: Build, video: Build, grey: Grey, screen: FakeScreen
) -> None:
    clip = str(video([grey(0)] * 5, fps=10))
    began = time.monotonic()
    run(brightness_model(), clip, playing=Playing(is_shown=True))
    assert time.monotonic() - began >= 0.4  # the last of five frames is due then; the summary's clock starts later
    screen.waits.clear()
    run(brightness_model(), clip, playing=Playing(is_shown=True, is_fast=True))
    assert max(screen.waits) == 1


def test_opencv_without_windows(
    brightness_model: Build, video: Build, grey: Grey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise cv2.error("not implemented")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(UsageError, match="use --headless"):
        run(brightness_model(), str(video([grey(0)])), playing=Playing(is_shown=True))


def test_a_signal_finishes_the_files(brightness_model: Build, tmp_path: Path) -> None:
    """A real one, in a process of its own, on a source that would go on for minutes."""
    program = textwrap.dedent("""
        import itertools, sys
        from pathlib import Path
        from whc.demo import run as demo
        from whc.demo.events import EventOptions
        from whc.demo.sources import files
        folder_frames = files.numbered
        files.numbered = lambda first, others: folder_frames(first, itertools.repeat(first, 10**6))
        model, folder, out = map(Path, sys.argv[1:])
        events = EventOptions(jsonl=out / "out.jsonl")
        summary = demo.run(model, str(folder), save=out / "out.webm", csv=out / "out.csv", events=events)
        print(summary.model_dump_json())
    """)
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(cv2.imencode(".png", np.zeros((48, 48, 3), np.uint8))[1].tobytes())
    command = [sys.executable, "-c", program, str(brightness_model()), str(folder), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not any(path.stat().st_size > 20_000 for path in tmp_path.glob(".out.*.csv")):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        printed, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    summary = DemoSummary.model_validate_json(printed)
    assert summary.interrupted
    assert frames_of(tmp_path / "out.webm")[0] == len(rows(tmp_path / "out.csv")) == summary.frames
    frames = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [frame["frame"] for frame in frames] == list(range(summary.frames))
    assert not list(tmp_path.glob(".*"))


HEAVY = ("torch", "ray", "optuna", "mlflow", "pandas")


def test_imports_nothing_heavy(brightness_model: Build, image_folder: Build, grey: Grey, tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from whc.demo import detectors
        from whc.demo.people import Finder
        from whc.demo.run import run
        for region in ({{}}, {{"region": Finder(detectors.load("face"))}}):
            run(Path(sys.argv[1]), sys.argv[2], save=Path(sys.argv[3]), csv=Path(sys.argv[4]), **region)
        print([name for name in {HEAVY} if name in sys.modules])
    """)
    files = [str(brightness_model()), str(image_folder([grey(0)])), str(tmp_path / "o.webm"), str(tmp_path / "o.csv")]
    done = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_real_video(change_model: Build, real_videos: Path, tmp_path: Path) -> None:
    clip = real_videos / "asl_yes.mkv"
    summary = run(
        change_model(task_config={"threshold": 0.02}), str(clip), save=tmp_path / "out.webm", csv=tmp_path / "out.csv"
    )
    assert (summary.frames, summary.notes) == (65, [])
    assert summary.decisions == 19  # frames 9, 12 ... 63
    assert frames_of(tmp_path / "out.webm") == (65, 30.0, (480, 640, 3))
    moved = [float(row["probability"]) for row in rows(tmp_path / "out.csv") if row["probability"]]
    assert max(moved) > 0.02


def test_real_video_cut_in_half_is_told(brightness_model: Build, real_videos: Path, tmp_path: Path) -> None:
    content = (real_videos / "asl_yes.mkv").read_bytes()
    (tmp_path / "half.mkv").write_bytes(content[: len(content) // 2])
    (note,) = run(brightness_model(), str(tmp_path / "half.mkv")).notes
    assert note.startswith("the source ended early")
