"""What a picture is, how files are listed, and names as they are shown."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from whc.data import pictures
from whc.data.pictures import MAX_FILE_BYTES, PICTURE_SUFFIXES, VIDEO_SUFFIXES, is_picture, is_still, is_text, printable
from whc.data.preprocess import Unreadable
from whc.errors import DataError

# Pillow's names of what whc decodes.
FORMATS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "AVIF": ".avif",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "JPEG2000": ".jp2",
    "PPM": ".ppm",
}


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(np.full((17, 31, 3), 90, np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_is_told_by_its_name_or_else_by_its_first_bytes(kind: str, tmp_path: Path) -> None:
    named, damaged = tmp_path / f"a{FORMATS[kind].upper()}", tmp_path / f"b{FORMATS[kind]}"
    named.write_bytes(encoded(kind))
    damaged.write_bytes(b"damaged")
    assert is_picture(named)
    assert is_picture(damaged)
    assert pictures.read_picture(named).shape == (17, 31, 3)
    if kind != "PPM":  # which begins as many a text does
        unnamed = tmp_path / "c"
        unnamed.write_bytes(encoded(kind))
        assert is_picture(unnamed)


def test_videos_and_other_files_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "stream.mjpeg").write_bytes(encoded("JPEG"))
    (tmp_path / "notes.txt").write_bytes(b"notes")
    (tmp_path / "empty").touch()
    assert not any(is_picture(path) for path in tmp_path.iterdir())
    assert not is_picture(tmp_path / "nothing")
    assert not PICTURE_SUFFIXES & VIDEO_SUFFIXES


def test_a_gif_among_pictures_is_one_and_by_itself_is_played(tmp_path: Path) -> None:
    assert is_picture(tmp_path / "a.gif")
    assert not is_still(tmp_path / "a.gif")
    assert is_still(tmp_path / "a.png")


def test_a_file_larger_than_any_picture_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # a hole: it takes no room
    with pytest.raises(Unreadable, match="over 600 MB"):
        pictures.read_picture(path)


def test_what_cannot_be_read_is_listed_so_that_it_is_told(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    odd.write_bytes(encoded("PNG"))
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "nowhere.png").symlink_to("gone.png")
    (tmp_path / "to.png").symlink_to(odd)
    (tmp_path / ".hidden.png").touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "1.png").write_bytes(encoded("PNG"))
    (tmp_path / "around").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "notes.txt").touch()
    names = ["loop.png", "nowhere.png", "to.png", odd.name, "deeper/1.png"]
    assert pictures.pictures_below(tmp_path) == ([tmp_path / name for name in names], 1)
    with pytest.raises(Unreadable, match="cannot be read: Too many levels of symbolic links"):
        pictures.read_file(tmp_path / "loop.png")
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        pictures.read_file(tmp_path / "nowhere.png")
    assert pictures.read_picture(odd).shape == (17, 31, 3)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="must hold images, got none among 1 files"):
        pictures.pictures_below(tmp_path)


@given(st.text(st.characters()) | st.binary().map(os.fsdecode))
def test_a_name_is_shown_as_one_line_of_text(name: str) -> None:
    line = printable(name)
    assert is_text(line)
    assert len(line.encode().splitlines()) <= 1
    assert printable(line) == line
    if is_text(name):
        assert line == name
