"""Pictures and clips as they go into the data set: bytes kept where they can be, damage told."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from whc.data.preprocess import Image, decode
from whc.data.reading import Item, read
from whc.data.sources import BuildConfig, SourceScan
from whc.errors import DataError
from whc.tasks.classification.folders import scan

MakeVideo = Callable[..., Path]
SHARES = (0.7, 0.15, 0.15)


def noise(seed: int, height: int = 24, width: int = 32) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(kind: str, seed: int = 0, **settings: Any) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(noise(seed)).save(file, kind, **settings)
    return file.getvalue()


def put(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def read_all(folder: Path, kind: str = "images", **settings: Any) -> tuple[dict[str, Item], SourceScan]:
    config = BuildConfig.model_validate({"kind": kind, "folder": folder, "split": SHARES, **settings})
    result = scan(config)
    return {item.source.name: item for item in read(result, config, None)}, result


def test_jpeg_and_png_stay_as_they_are_and_others_lose_nothing(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x112] = 6
    kept = {
        "a/1.jpg": encoded("JPEG", exif=exif),
        "a/2.png": encoded("PNG"),
        "a/misnamed.png": encoded("JPEG", 3),
        "b/3.jpeg": encoded("JPEG", 4),
    }
    others = {
        "b/4.webp": encoded("WEBP"),
        "b/5.bmp": encoded("BMP"),
        "b/6.TIF": encoded("TIFF"),
        "b/7.gif": encoded("GIF"),
    }
    put(tmp_path, kept | others)
    items, result = read_all(tmp_path)
    assert list(items) == sorted(kept | others)
    assert result.left_out == []
    for name, content in kept.items():
        assert items[name].frames == {0: content}
    for name, content in others.items():
        stored = items[name].frames[0]
        assert stored.startswith(b"\x89PNG")
        np.testing.assert_array_equal(decode(stored), decode(content))
    assert all(len(item.appearances) == 1 and not item.note for item in items.values())


def test_unreadable_pictures_are_left_out_up_to_one_percent(tmp_path: Path) -> None:
    put(tmp_path, {f"{label}/{i}.png": encoded("PNG", i) for label in "ab" for i in range(100)})
    put(tmp_path, {"a/empty.png": b"", "b/cut.jpg": encoded("JPEG")[:-200]})
    items, result = read_all(tmp_path)
    assert len(items) == 200
    assert [(left.name, left.reason) for left in result.left_out] == [
        ("a/empty.png", "unreadable"),
        ("b/cut.jpg", "unreadable"),
    ]
    put(tmp_path, {"a/text.png": b"text"})
    with pytest.raises(DataError) as caught:
        read_all(tmp_path)
    rule = "at most 1% of the images (or one) may be unreadable, got '3 of 203'"
    assert str(caught.value) == f"{tmp_path}: {rule}; mend or remove them, such as a/empty.png: empty or missing"


def test_a_huge_picture_is_left_out_by_its_header(tmp_path: Path) -> None:
    put(tmp_path, {"a/1.png": encoded("PNG"), "b/1.png": encoded("PNG", 1), "b/2.pgm": b"P5 10001 10000 255\n"})
    _, result = read_all(tmp_path)
    assert [(left.name, left.detail) for left in result.left_out] == [("b/2.pgm", "over 100 megapixels")]


def test_one_unreadable_picture_never_stops_a_small_folder(tmp_path: Path) -> None:
    put(tmp_path, {"a/1.png": encoded("PNG"), "b/1.png": encoded("PNG", 1), "b/2.png": b"broken"})
    items, result = read_all(tmp_path)
    assert list(items) == ["a/1.png", "b/1.png"]
    assert len(result.left_out) == 1


def test_clips_are_sampled(tmp_path: Path, make_video: MakeVideo) -> None:
    make_video([np.full((32, 32, 3), 8 * i, np.uint8) for i in range(30)], fps=30, name="a/1.mp4")
    make_video([noise(i, 32, 32) for i in range(12)], fps=12, name="b/1.mp4")
    items, result = read_all(tmp_path, "videos", fps=10.0, min_frames=2)
    assert result.left_out == []
    assert list(items["a/1.mp4"].frames) == list(range(10)) == list(items["b/1.mp4"].frames)
    for number, content in items["a/1.mp4"].frames.items():
        assert content.startswith(b"\xff\xd8\xff")
        picture = decode(content)
        assert picture is not None
        assert picture.mean() == pytest.approx(24 * number, abs=4)
    assert len(items["b/1.mp4"].appearances) == 10


def test_frames_are_hardly_worse_than_the_clip_s(tmp_path: Path, make_video: MakeVideo) -> None:
    smooth = cv2.resize(noise(0, 6, 6), (64, 64), interpolation=cv2.INTER_CUBIC)
    path = make_video([smooth] * 3, name="a/1.mp4")
    make_video([noise(1, 64, 64)] * 3, name="b/1.mp4")
    items, _ = read_all(tmp_path, "videos", fps=30.0)
    decoded = decode(items["a/1.mp4"].frames[0])
    there, original = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).read()
    assert there
    assert decoded is not None
    assert np.abs(decoded.astype(int) - original[..., ::-1]).mean() < 2


def test_clips_that_give_nothing_are_told_with_the_reason(
    tmp_path: Path, make_video: MakeVideo, make_mjpeg: MakeVideo
) -> None:
    for i in range(20):
        make_video([noise(i + j, 32, 32) for j in range(6)], fps=10, name=f"{'ab'[i % 2]}/{i}.mp4")
    put(tmp_path, {"a/text.mp4": b"no video"})
    make_video([noise(0, 32, 32)] * 9, fps=5, name="b/slow.mp4")
    make_video([noise(0, 32, 32)] * 3, fps=10, name="b/short.mp4")
    make_mjpeg([noise(i, *size) for i, size in enumerate([(32, 48)] * 10 + [(64, 40)] * 10)], name="b/two sizes.mjpeg")
    items, result = read_all(tmp_path, "videos", fps=10.0, min_frames=4)
    assert len(items) == 21
    assert "b/two sizes.mjpeg" in items
    assert {left.name: (left.reason, left.detail) for left in result.left_out} == {
        "a/text.mp4": ("unreadable", "must be a video that FFmpeg can decode, got something else; convert it to MP4"),
        "b/slow.mp4": ("unreadable", "must have at least the 10 frames a second asked for, got 5; use a lower --fps"),
        "b/short.mp4": ("short", "frames at 10 a second: 3, fewer than --min-frames 4"),
    }
    put(tmp_path, {"a/more.mp4": b"no video"})
    with pytest.raises(DataError, match=r"at most 10% of the videos \(or one\) may be unreadable, got '3 of 25'; mend"):
        read_all(tmp_path, "videos", fps=10.0)


def test_a_clip_that_ends_early_is_noted(shared: Path, tmp_path: Path) -> None:
    content = (shared / "data" / "video" / "asl_yes.mkv").read_bytes()
    put(tmp_path, {"a/whole.mkv": content, "b/half.mkv": content[: len(content) // 2]})
    items, _ = read_all(tmp_path, "videos", fps=10.0)
    assert items["a/whole.mkv"].note == ""
    assert items["b/half.mkv"].note.startswith("ends after 1.")
    assert items["b/half.mkv"].note.endswith(" of 2.2 s")
    assert 5 < len(items["b/half.mkv"].frames) < len(items["a/whole.mkv"].frames) == 22


def test_progress_counts_files(tmp_path: Path) -> None:
    put(tmp_path, {f"{label}/{i}.png": encoded("PNG", i) for label in "ab" for i in range(3)})
    config = BuildConfig(kind="images", folder=tmp_path, split=SHARES)
    told: list[tuple[int, int]] = []
    read(scan(config), config, lambda done, total: told.append((done, total)))
    assert told == [(i, 6) for i in range(1, 7)]


def test_an_interruption_leaves_the_rest_unread(tmp_path: Path) -> None:
    put(tmp_path, {f"{label}/{i}.png": encoded("PNG", i) for label in "ab" for i in range(300)})
    config = BuildConfig(kind="images", folder=tmp_path, split=SHARES)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(scan(config), config, interrupt)
