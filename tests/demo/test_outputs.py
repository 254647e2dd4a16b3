"""Videos of constant rate that keep the frames' times, and whose fault an error is."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.data.preprocess import Image
from whc.demo import outputs
from whc.demo.outputs import MAX_HELD_SECONDS, Result
from whc.errors import UsageError

FPS = 10.0


class FakeWriter:
    """Stands in for cv2.VideoWriter; remembers each frame's shade."""

    def __init__(self) -> None:
        self.shades: list[int] = []

    def write(self, picture: Image) -> None:
        self.shades.append(int(picture[0, 0, 0]))


def reel(seconds: list[float]) -> list[int]:
    """The number of the frame in each place of a video at FPS frames a second."""
    writer = FakeWriter()
    filled = outputs._Reel(writer, FPS)
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


@pytest.mark.parametrize(("name", "codec"), [("a.webm", b"VP80"), ("a.mp4", b"FMP4"), ("A.WEBM", b"VP80")])
def test_suffix_chooses_the_codec_and_nothing_is_printed(
    tmp_path: Path, name: str, codec: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with outputs.video_file(tmp_path / name, (180, 320), 12.5) as write:
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
        outputs.video_file(tmp_path / "\udcff.webm", (180, 320), 10),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_block_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    reason = OSError(5, "Input/output error", "source.png")
    with pytest.raises(OSError, match=r"source\.png") as caught, outputs.table(tmp_path / "a.csv") as write:
        write(["a"])
        raise reason
    assert caught.value is reason
    assert not list(tmp_path.iterdir())


LIMITED = """
    import sys
    from pathlib import Path
    import numpy as np
    from whc.demo import outputs
    from whc.errors import UsageError
    path = Path(sys.argv[1])
    try:
        if path.suffix == ".csv":
            with outputs.table(path) as write:
                for number in range(100_000):
                    write((number,) * 10)
        else:
            with outputs.video_file(path, (180, 320), 30) as write:
                noise = np.random.default_rng(0)
                for number in range(60):
                    picture = noise.integers(0, 255, (180, 320, 3), np.uint8)
                    write(outputs.Result(number, number / 30, picture, ()))
    except UsageError as error:
        print(error)
"""


READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1/$4"'


@pytest.mark.parametrize("name", ["a.csv", "a.webm", "new/a.csv"])
def test_a_read_only_folder_is_told(tmp_path: Path, name: str) -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("needs the right to mount (root writes past chmod)")
    command = [
        "unshare",
        "-m",
        "bash",
        "-c",
        READ_ONLY,
        "-",
        str(tmp_path),
        sys.executable,
        textwrap.dedent(LIMITED),
        name,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = "must be a file that can be written, got: Read-only file system; choose another path"
    assert (done.stdout, done.stderr) == (f"{tmp_path / name}: {told}\n", "")


def limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails, as it does on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.csv", "must be a file that can be written, got: File too large"),
        ("a.webm", "must hold 60 frames, got "),
        ("a.mp4", "must hold 60 frames, got "),
    ],
)
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, name: str, said: str) -> None:
    path = tmp_path / name
    command = [sys.executable, "-c", textwrap.dedent(LIMITED), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit_files, check=True)
    assert done.stdout.startswith(f"{path}: {said}")
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())
