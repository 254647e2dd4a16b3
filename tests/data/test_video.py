"""Videos frame by frame, whole and damaged, and frames sampled from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from whc.data.preprocess import Image
from whc.data.video import Frame, Video, constant_rate, open_video, sampled
from whc.errors import DataError

MakeVideo = Callable[..., Path]


def halves(left: int, right: int, height: int, width: int) -> Image:
    picture = np.full((height, width, 3), left, np.uint8)
    picture[:, width // 2 :] = right
    return picture


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught, open_video(path):
        pass
    message = str(caught.value)
    assert message.startswith(f"{path}: must ")
    assert "\n" not in message
    assert "; " in message
    return message


def test_frames_have_times(make_video: MakeVideo) -> None:
    path = make_video([halves(0, shade, 32, 48) for shade in range(0, 200, 20)], fps=12.5)
    with open_video(path) as opened:
        assert (opened.path, opened.fps, opened.size, opened.count) == (str(path), 12.5, (32, 48), 10)
        frames = list(opened)
    assert [frame.seconds for frame in frames] == pytest.approx([number * 0.08 for number in range(10)])
    assert [round(float(frame.picture[:, 36:].mean())) for frame in frames] == pytest.approx(range(0, 200, 20), abs=4)


def test_a_name_is_never_a_protocol(make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_video([halves(0, 200, 32, 48)] * 3).rename("concat:a.mp4")
    with open_video("concat:a.mp4") as opened:
        assert len(list(opened)) == 3


def test_frames_that_change_size_are_stretched_to_the_first(make_mjpeg: MakeVideo) -> None:
    first, second = [halves(40, 200, 48, 64)] * 4, [halves(90, 250, 120, 80)] * 4
    for pictures in (first + second, second + first):
        height, width = pictures[0].shape[:2]
        with open_video(make_mjpeg(pictures)) as opened:
            shown = [frame.picture for frame in opened]
        assert len(shown) == 8
        for picture, written in zip(shown, pictures, strict=True):
            assert picture.shape == (height, width, 3)
            np.testing.assert_allclose(picture, cv2.resize(written, (width, height)), atol=12)


def test_a_stream_without_a_header_tells_no_count(make_mjpeg: MakeVideo) -> None:
    with open_video(make_mjpeg([halves(0, 200, 48, 64)] * 5)) as opened:
        assert opened.count is None
        assert len(list(opened)) == 5


def test_nothing_there(tmp_path: Path) -> None:
    assert "got nothing there" in refusal(tmp_path / "none.mp4")
    assert "got nothing there" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(4000)])
def test_no_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert "must be a video that FFmpeg can decode" in refusal(path)


def test_an_mp4_cut_in_half_has_lost_its_index(make_video: MakeVideo) -> None:
    path = make_video([halves(0, 200, 32, 48)] * 30)
    path.write_bytes(path.read_bytes()[:-700])
    assert "must be a video that FFmpeg can decode" in refusal(path)


def test_a_video_without_frames(make_video: MakeVideo) -> None:
    # The index says that there is a stream, and holds no frame of it.
    path = make_video([], size=(32, 48))
    assert "must be a video" in refusal(path) or "must have frames" in refusal(path)


def test_frames_over_100_megapixels_are_refused_by_the_header(tmp_path: Path) -> None:
    content = bytearray(cv2.imencode(".gif", halves(0, 200, 48, 64))[1].tobytes())
    content[6:10] = (10001).to_bytes(2, "little") + (10000).to_bytes(2, "little")
    path = tmp_path / "huge.gif"
    path.write_bytes(content)
    assert "must have frames of at most 100 megapixels, got '10001x10000'; " in refusal(path)


def test_a_name_that_is_not_utf8_is_refused(make_video: MakeVideo, tmp_path: Path) -> None:
    """OpenCV would crash."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4"))
    make_video([halves(0, 200, 32, 48)] * 3).rename(path)
    with (
        pytest.raises(DataError, match=r"udcff\.mp4: must have a name in UTF-8, got other bytes; rename it"),
        open_video(path),
    ):
        pass


@pytest.mark.parametrize(
    ("seconds", "rate"),
    [
        ([number / 25 for number in range(50)], 25),
        ([number / 12.5 for number in range(50)], 12.5),
        ([0, 0.033, 0.067, 0.1, 1.1, 1.133, 1.5, 3.0], 30),  # a recording of a screen
        ([number / 25 + 0.009 * (number % 3) for number in range(50)], 60),  # times that tremble
        ([20.0 * number for number in range(5)], 1),
    ],
)
def test_rate_at_which_every_frame_stands_at_its_time(
    make_matroska: MakeVideo, seconds: list[float], rate: float
) -> None:
    path = make_matroska([halves(0, 5 * number, 32, 48) for number in range(len(seconds))], seconds)
    with open_video(path) as opened:
        assert constant_rate(opened) == pytest.approx(rate, rel=0.02)
        frames = list(opened)
    assert [frame.seconds for frame in frames] == pytest.approx(seconds, abs=0.001)


def test_sampled_takes_the_nearest_frame() -> None:
    thirty = [number / 30 for number in range(31)]
    assert numbers(thirty, 30, 10) == [(number, 3 * number) for number in range(11)]
    assert numbers(thirty, 30, 30) == [(number, number) for number in range(31)]
    # 12.5 to 10: instants 0, 0.1, 0.2 ... lie nearest to the frames at 0, 0.08, 0.16 or 0.24 ...
    taken = numbers([number * 0.08 for number in range(26)], 12.5, 10)
    assert [number for number, _ in taken] == list(range(21))
    assert all(abs(frame * 0.08 - number / 10) <= 0.041 for number, frame in taken)


def test_sampled_leaves_out_the_instants_of_a_gap() -> None:
    assert numbers([0.0, 0.1, 0.2, 0.7, 0.8], 10, 10) == [(0, 0), (1, 1), (2, 2), (7, 3), (8, 4)]


def test_sampled_takes_ntsc_for_thirty_and_refuses_less() -> None:
    ntsc = 30 / 1.001
    assert len(numbers([number / ntsc for number in range(60)], ntsc, 30)) == 60
    with pytest.raises(DataError, match="clip: must have at least the 31 frames a second asked for, got 30"):
        numbers([0.0], 30, 31)


def numbers(times: list[float], fps: float, asked: float) -> list[tuple[int, int]]:
    """Instants and numbers of the frames that are sampled from a stream with these times."""
    frames = (Frame(np.full((1, 1, 3), i, np.uint8), seconds) for i, seconds in enumerate(times))
    stream = Video("clip", fps, (1, 1), None, frames)
    return [(number, int(picture[0, 0, 0])) for number, picture in sampled(stream, asked)]


def test_real_video_cut_in_half_gives_what_it_has(shared: Path, tmp_path: Path) -> None:
    content = (shared / "data" / "video" / "asl_yes.mkv").read_bytes()
    path = tmp_path / "half.mkv"
    path.write_bytes(content[: len(content) // 2])
    with open_video(path) as opened:
        assert opened.count == pytest.approx(65, abs=1)
        assert 10 < len(list(opened)) < 60
