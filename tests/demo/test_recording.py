"""Videos of constant rate that keep the frames' times, and that browsers play."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.data.preprocess import Image
from whc.demo import recording
from whc.demo.outputs import Result
from whc.demo.recording import MAX_HELD_SECONDS
from whc.errors import UsageError

FPS = 10.0


def needs_av(name: str) -> None:
    if name.endswith(".mp4"):
        pytest.importorskip("av", reason="needs `pip install 'whc[video]'`")


class FakeWriter:
    """Stands in for cv2.VideoWriter; remembers each frame's shade."""

    def __init__(self) -> None:
        self.shades: list[int] = []

    def write(self, picture: Image) -> None:
        self.shades.append(int(picture[0, 0, 0]))


def reel(seconds: list[float]) -> list[int]:
    """The number of the frame in each place of a video at FPS frames a second."""
    writer = FakeWriter()
    filled = recording._Reel(writer, FPS)
    for number, moment in enumerate(seconds):
        assert filled.add(Result(number, moment, np.full((2, 2, 3), number, np.uint8), ()))
    filled.end()
    assert filled.frames == len(writer.shades)
    return writer.shades


@given(st.lists(st.floats(0.001, 3), max_size=40))
def test_each_place_shows_the_frame_of_its_time_to_half_a_frame(gaps: list[float]) -> None:
    seconds = np.cumsum([0, *gaps])
    for place, number in enumerate(reel(seconds.tolist())):
        assert seconds[number] * FPS <= place + 0.5 + 1e-6
        if number + 1 < len(seconds):
            assert seconds[number + 1] * FPS >= place + 0.5 - 1e-6


def test_an_even_stream_is_written_frame_by_frame() -> None:
    assert reel([number / FPS for number in range(100)]) == list(range(100))
    assert reel([number / FPS + 0.04 * (-1) ** number for number in range(100)]) == list(range(100))


def test_a_frame_is_held_for_a_minute_at_most() -> None:
    held = round(MAX_HELD_SECONDS * FPS)
    assert reel([0, 1e9, 1e9 + 0.1, 1e9 + 0.3]) == [*[0] * held, 1, 2, 2, 3]


@pytest.mark.parametrize(("name", "codec"), [("a.webm", b"VP80"), ("a.mp4", b"AV01"), ("A.WEBM", b"VP80")])
def test_suffix_chooses_the_codec_and_nothing_is_printed(
    tmp_path: Path, name: str, codec: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    needs_av(name)
    with recording.video_file(tmp_path / name, (180, 320), 12.5) as write:
        for number in range(30):
            write(Result(number, number / 12.5, np.full((180, 320, 3), 8 * number, np.uint8), ()))
    video = cv2.VideoCapture(str(tmp_path / name), cv2.CAP_FFMPEG)
    assert int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").upper() == codec
    assert video.get(cv2.CAP_PROP_FPS) == 12.5
    shades = []
    while (read := video.read())[0]:
        shades.append(float(read[1].mean()))
    assert shades == pytest.approx([8 * number for number in range(30)], abs=6)
    assert capfd.readouterr() == ("", "")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="must have a name in UTF-8"),
        recording.video_file(tmp_path / "\udcff.webm", (180, 320), 10),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_without_pyav_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError) as caught, recording.video_file(tmp_path / "a.mp4", (180, 320), 10):
        pass
    told = "must have PyAV, which writes .mp4, got none; run `pip install 'whc[video]'` (PyAV), or save a.webm"
    assert str(caught.value) == f"{tmp_path / 'a.mp4'}: {told}"
    assert not list(tmp_path.iterdir())


COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 220)}
PLAYER = """<!doctype html><video id="video" src="%s" muted></video><script>
const video = document.getElementById("video"), colours = [];
const told = (seen) => fetch("seen", { method: "POST", body: JSON.stringify(seen) });
video.onerror = () => told({ error: video.error.message });
video.onended = () => told({ colours, seconds: video.duration, width: video.videoWidth, height: video.videoHeight });
const look = (_, frame) => {
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.drawImage(video, 0, 0);
  colours.push([frame.mediaTime, ...canvas.getImageData(100, 100, 1, 1).data.slice(0, 3)]);
  video.requestVideoFrameCallback(look);
};
video.requestVideoFrameCallback(look);
video.play();
</script>"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.webm", "a.mp4"])
def test_a_browser_plays_it_in_its_colours(tmp_path: Path, name: str) -> None:
    needs_av(name)
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs Chromium")
    with recording.video_file(tmp_path / name, (180, 320), 10) as write:
        for number in range(15):
            colour = list(COLOURS.values())[number // 5]
            write(Result(number, number / 10, np.full((180, 320, 3), colour, np.uint8), ()))
    (tmp_path / "player.html").write_text(PLAYER % name, encoding="utf-8")
    seen = played(browser, tmp_path)
    assert "error" not in seen, seen
    assert (seen["width"], seen["height"]) == (320, 180)
    assert seen["seconds"] == pytest.approx(1.5, abs=0.11)
    assert len(seen["colours"]) >= 3
    for moment, *shown in seen["colours"]:
        assert shown == pytest.approx(list(COLOURS.values())[int(moment / 0.5 + 0.1)], abs=8)


def played(browser: str, folder: Path) -> dict[str, Any]:
    """What the player's page tells of the video in a folder."""
    told: Queue[dict[str, Any]] = Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
        command += ["--no-proxy-server", "--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0"]
        address = f"http://127.0.0.1:{server.server_port}/player.html"
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([*command, address], **streams, start_new_session=True) as process:
            try:
                return told.get(timeout=120)
            finally:
                os.killpg(process.pid, signal.SIGKILL)  # with its helpers
                server.shutdown()
