from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from whc.data.preprocess import Image
from whc.data.video import ASSUMED_FPS
from whc.demo.sources import open_source
from whc.errors import DataError

Build = Callable[..., Path]
Grey = Callable[..., Image]


def shades(spec: str) -> list[int]:
    with open_source(spec) as source:
        return [round(float(frame.picture.mean())) for frame in source]


def refusal(spec: str) -> str:
    with pytest.raises(DataError) as caught, open_source(spec):
        pass
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(("camera", spec))
    return message


def test_video_tells_rate_size_count_and_times(video: Build, grey: Grey) -> None:
    path = video([grey(shade, 32, 64) for shade in range(0, 250, 25)], fps=12.5)
    with open_source(str(path)) as source:
        assert (source.fps, source.size, source.count, source.is_live) == (12.5, (32, 64), 10, False)
        frames = list(source)
    assert [frame.seconds for frame in frames] == pytest.approx([number * 0.08 for number in range(10)])
    assert frames[0].picture.shape == (32, 64, 3)
    assert [round(float(frame.picture.mean())) for frame in frames] == pytest.approx(range(0, 250, 25), abs=4)


def test_video_is_rgb(video: Build) -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    with open_source(str(video([red] * 3))) as source:
        channels = next(iter(source)).picture.mean(axis=(0, 1))
    assert channels[0] > 200
    assert channels[2] < 60


def test_folder_is_sorted_and_counts_what_it_skips(image_folder: Build, grey: Grey) -> None:
    folder = image_folder([grey(10), grey(20, 24, 32), grey(30)])
    (folder / "notes.txt").write_text("no image")
    (folder / "001b.png").write_bytes((folder / "001.png").read_bytes()[:40])
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "deeper").mkdir()
    with open_source(str(folder)) as source:
        assert (source.fps, source.size, source.count) == (None, (48, 48), 4)
        frames = list(source)
        assert (source.skipped, source.unreadable) == (1, [f"{folder}/001b.png: cannot be decoded"])
    assert [round(float(frame.picture.mean())) for frame in frames] == [10, 20, 30]
    assert [frame.seconds for frame in frames] == [0, 0.1, 0.2]


def test_folder_whose_first_file_is_broken_starts_at_the_second(image_folder: Build, grey: Grey) -> None:
    folder = image_folder([grey(10), grey(20, 24, 32)])
    (folder / "000.png").write_bytes((folder / "000.png").read_bytes()[:40])
    with open_source(str(folder)) as source:
        assert source.size == (24, 32)
        assert len(list(source)) == 1


def test_default_is_a_rendered_clip() -> None:
    with open_source(None) as source:
        frames = list(source)
        assert len(frames) == source.count
        assert source.fps
    assert frames[0].picture.dtype == np.uint8
    assert frames[0].picture.shape == (*source.size, 3)
    assert frames[-1].seconds == pytest.approx((len(frames) - 1) / source.fps)
    with open_source(None) as again:
        assert all(np.array_equal(a.picture, b.picture) for a, b in zip(frames, again, strict=True))


def test_missing_file() -> None:
    assert "got nothing there" in refusal("/nowhere/clip.mp4")


@pytest.mark.parametrize("content", [b"", b"hello", b"nonsense" * 1000])
def test_not_a_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert "must be a video" in refusal(str(path))


def test_libraries_keep_quiet(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"nonsense" * 1000)
    program = textwrap.dedent("""
        import sys
        from whc.demo.sources import open_source
        from whc.errors import DataError
        for spec in sys.argv[1:]:
            try:
                with open_source(spec):
                    pass
            except DataError as error:
                print(error)
    """)
    # A process of its own, for FFmpeg reads its log level once.
    command = [sys.executable, "-c", program, str(tmp_path / "clip.mp4"), "97"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


def test_video_cut_short_cannot_be_opened_or_ends_early(video: Build, grey: Grey) -> None:
    path = video([grey(shade) for shade in range(0, 200, 20)])
    path.write_bytes(path.read_bytes()[:-200])
    refusal(str(path))


def test_a_video_that_changes_size_keeps_its_first_one(tmp_path: Path, grey: Grey) -> None:
    encoded = [cv2.imencode(".jpg", grey(90, *size))[1].tobytes() for size in [(48, 64)] * 4 + [(96, 160)] * 4]
    (tmp_path / "a.mjpeg").write_bytes(b"".join(encoded))
    with open_source(str(tmp_path / "a.mjpeg")) as source:
        frames = list(source)
    assert [frame.picture.shape for frame in frames] == [(48, 64, 3)] * 8
    assert frames[-1].picture.mean() == pytest.approx(90, abs=4)


@pytest.mark.parametrize(
    "content", ["#EXTM3U\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile /etc/passwd\n"]
)
@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8"])
def test_a_list_of_other_files_is_no_video(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert "must be a video that FFmpeg can decode" in refusal(str(tmp_path / name))


class FakeCapture:
    """Stands in for cv2.VideoCapture (whose subclasses crash Python's garbage collector)."""

    def __init__(self, pictures: list[Image]) -> None:
        self.pictures = iter(pictures)
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, _: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, Image | None]:
        picture = next(self.pictures, None)
        return picture is not None, picture

    def release(self) -> None:
        self.released = True


def test_video_that_holds_no_frame(video: Build, grey: Grey, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video([grey(0)])
    capture = FakeCapture([])
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: capture)
    assert "must have frames that can be decoded" in refusal(str(path))
    assert capture.released


def test_video_without_times_counts_frames(video: Build, grey: Grey, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video([grey(0)])
    capture = FakeCapture([grey(0)] * 4)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: capture)
    with open_source(str(path)) as source:
        assert (source.fps, source.count) == (ASSUMED_FPS, None)
        assert [frame.seconds for frame in source] == pytest.approx([number / ASSUMED_FPS for number in range(4)])


@pytest.mark.parametrize("content", [None, b"text"])
def test_empty_folder(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "a.txt").write_bytes(content)
    assert "must hold images" in refusal(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "frames", "fps"), [("asl_yes.mkv", 65, 30), ("head-pose-face-detection-male.mp4", 62, 12.5)]
)
def test_real_video(real_videos: Path, name: str, frames: int, fps: float) -> None:
    with open_source(str(real_videos / name)) as source:
        assert source.fps == fps
        seconds = [frame.seconds for frame in source]
    assert seconds == pytest.approx([number / fps for number in range(frames)], abs=0.002)


def test_real_video_cut_in_half_gives_what_it_has(real_videos: Path, tmp_path: Path) -> None:
    content = (real_videos / "asl_yes.mkv").read_bytes()
    (tmp_path / "half.mkv").write_bytes(content[: len(content) // 2])
    assert 10 < len(shades(str(tmp_path / "half.mkv"))) < 65
