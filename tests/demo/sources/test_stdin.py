"""JPEGs on stdin: real pipes, in processes of their own, and how a stream of bytes is split."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.data.preprocess import Image
from whc.demo.sources import jpegs
from whc.errors import DataError

Jpeg = Callable[..., bytes]

PROGRAM = textwrap.dedent("""
    import json, sys
    from whc.demo.sources import open_source
    from whc.errors import DataError
    try:
        with open_source("-", is_fast=sys.argv[1] == "fast") as source:
            frames = [(frame.picture.shape, float(frame.picture.mean()), frame.seconds) for frame in source]
            print(json.dumps([frames, source.fps, source.is_live, source.dropped, source.unreadable, source.ended]))
    except DataError as error:
        print(error)
""")


def said(content: bytes, speed: str = "fast") -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM, speed], input=content, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


def test_pictures_of_files_are_at_an_even_distance(jpeg: Jpeg, turned_jpeg: bytes) -> None:
    frames, *facts = json.loads(said(jpeg(20) + turned_jpeg + jpeg(90)))
    assert facts == [None, False, 0, [], ""]
    assert [tuple(shape) for shape, *_ in frames] == [(48, 64, 3), (80, 40, 3), (48, 64, 3)]
    assert [shade for _, shade, _ in frames] == pytest.approx([20, 50, 90], abs=2)
    assert [seconds for *_, seconds in frames] == [0, 0.1, 0.2]


def test_pictures_of_a_camera_are_at_their_own_time_and_none_is_dropped(jpeg: Jpeg) -> None:
    frames, *facts = json.loads(said(jpeg(7) * 20, "live"))
    assert facts == [30.0, False, 0, [], ""]
    assert len(frames) == 20

    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield jpeg(7)
            time.sleep(0.1)

    seconds = [frame.seconds for frame in jpegs.source("stdin", chunks(), is_timed=True)]
    assert seconds[1] >= 0.1
    assert seconds[2] - seconds[1] >= 0.1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "stdin: must give JPEG pictures one after another, got none; check what sends them"),
        (b"no picture" * 99, "stdin: must give JPEG pictures one after another, got none; check what sends them"),
        (b"\x89PNG\r\n\x1a\n" * 99, "stdin: must give JPEG pictures one after another, got none;"),
        (b"\xff\xd8\xff\xe0\x00\x10", "got none, but picture 0: cannot be decoded;"),
        (b"\xff\xd8\xff\xd9", "got none, but picture 0: cannot be decoded;"),
    ],
)
def test_what_is_no_picture_is_told(content: bytes, told: str) -> None:
    message = said(content)
    assert told in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("start", [b"\xff\xd8\xff\xe0\x00\x02\xff\xda\x00\x02", b"\x00", b"\xff\xd8\xff\xe0\x00\x02"])
def test_a_stream_without_end_is_given_up(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpegs, "MAX_JPEG_BYTES", 100_000)

    def chunks() -> Iterator[bytes]:
        yield start
        while True:
            yield bytes(1000)

    with pytest.raises(DataError, match="must give JPEG pictures of at most"):
        list(jpegs.split("stdin", chunks()))


def encoded(picture: Image, is_progressive: bool) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(is_progressive)])[1].tobytes())


@given(st.data())
def test_the_pieces_in_which_bytes_come_do_not_matter(data: st.DataObject) -> None:
    noise = np.random.default_rng(data.draw(st.integers(0, 99)))
    pictures = [encoded(noise.integers(0, 255, (20, 30, 3), np.uint8), data.draw(st.booleans())) for _ in range(3)]
    gaps = st.sampled_from([b"", b"\r\n--frame\r\n", b"\xff", b"\x00\xff\xd8\x00"])
    between = data.draw(st.lists(gaps, min_size=3, max_size=3))
    stream = io.BytesIO(b"".join(gap + picture for gap, picture in zip(between, pictures, strict=True)))
    sizes = data.draw(st.lists(st.integers(1, 700), min_size=1))
    chunks = iter(lambda: stream.read(sizes[stream.tell() % len(sizes)]), b"")
    assert list(jpegs.split("stdin", chunks)) == pictures


def test_a_damaged_picture_does_not_take_the_next_one_with_it(jpeg: Jpeg) -> None:
    """A length that is damaged takes 64 kB at most."""
    whole = jpeg(9)
    later = [whole] * (2 + (1 << 16) // len(whole))
    for place in range(2, len(whole) - 2, 7):
        parts = list(jpegs.split("stdin", iter([whole[:place], *later])))
        assert parts[-1] == whole
