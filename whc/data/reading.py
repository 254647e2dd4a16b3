"""Reading pictures and clips from their files, as encoded frames with their appearances."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event

import cv2

from whc.data import duplicates
from whc.data.dataset import MAX_UNREADABLE
from whc.data.duplicates import Appearance
from whc.data.pictures import read_file
from whc.data.preprocess import Image, Unreadable, read_image
from whc.data.sources import BuildConfig, Reason, SourceFile, SourceScan
from whc.data.video import open_video, sampled
from whc.errors import DataError, problem

MAX_UNREADABLE_CLIPS = 0.1  # more than for pictures, as a folder holds fewer clips

_JPEG_QUALITY = 95
_KEPT_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # JPEG and PNG: these files go into the data set unchanged
_SHAPE_TOLERANCE = 0.02  # of the height that a picture's width and its labels tell
_MIN_LENGTH_SHARE = 0.9  # of the length in a header, which may be wrong by a few frames


@dataclass(frozen=True)
class Item:
    """A picture or a clip: its encoded frames by number (0 for a picture), and their appearances.

    `note` describes damage, if there is any; `group` and `split` are set later.
    """

    source: SourceFile
    frames: dict[int, bytes] = field(default_factory=dict)
    appearances: list[Appearance] = field(default_factory=list)
    note: str = ""
    group: str = ""
    split: str = ""


@dataclass(frozen=True)
class _UnusableFile:
    source: SourceFile
    reason: Reason
    detail: str


def read(contents: SourceScan, config: BuildConfig, on_progress: Callable[[int, int], None] | None) -> list[Item]:
    """Read all files, in order; those that give no rows go to `contents.left_out`.

    Raises:
        DataError: too many files are unreadable.
    """
    stop = Event()

    def work(source: SourceFile) -> Item | _UnusableFile:
        return _picture(source) if config.kind == "images" else _clip(source, config, stop)

    items = []
    pool = ThreadPoolExecutor(os.cpu_count())  # no more threads, as a large picture takes some hundred megabytes
    try:
        for count, result in enumerate(pool.map(work, contents.sources), 1):
            if isinstance(result, Item):
                items.append(result)
            else:
                contents.leave_out(result.source, result.reason, result.detail)
            if on_progress:
                on_progress(count, len(contents.sources))
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the remaining files
    _check_unreadable(contents, config)
    return items


def _picture(source: SourceFile) -> Item | _UnusableFile:
    try:
        encoded = read_file(source.path)
        picture = read_image(encoded)
    except Unreadable as error:
        return _UnusableFile(source, "unreadable", str(error))
    if source.label_size and _has_other_shape(picture, source.label_size):
        height, width = picture.shape[:2]
        label_width, label_height = source.label_size
        detail = (
            f"labels are for {label_width}x{label_height} pixels, the picture has {width}x{height} as EXIF turns it"
        )
        return _UnusableFile(source, "unreadable", detail)
    content = encoded if encoded.startswith(_KEPT_SIGNATURES) else _encode(".png", picture)
    return Item(source, {0: content}, [duplicates.appearance(picture)])


def _has_other_shape(picture: Image, label_size: tuple[int, int]) -> bool:
    """Whether a picture is not one of this width and height, nor that one made smaller or larger."""
    height, width = picture.shape[:2]
    expected = width * label_size[1] / label_size[0]
    return bool(abs(height - expected) > 1 + _SHAPE_TOLERANCE * expected)


def _clip(source: SourceFile, config: BuildConfig, stop: Event) -> Item | _UnusableFile:
    fps, min_frames = config.fps or 1.0, config.min_frames or 1
    item = Item(source)
    try:
        with open_video(source.path) as video:
            header_seconds = video.count / video.fps if video.count else 0.0
            for number, picture in sampled(video, fps):
                item.frames[number] = _encode(".jpg", picture)
                item.appearances.append(duplicates.appearance(picture))
                if stop.is_set():
                    break
    except DataError as error:
        return _UnusableFile(source, "unreadable", str(error).removeprefix(f"{source.path}: "))
    seconds = (max(item.frames) + 1) / fps
    is_short = seconds < _MIN_LENGTH_SHARE * header_seconds
    damage = f"ends after {seconds:.1f} of {header_seconds:.1f} s" if is_short else ""
    if len(item.frames) < min_frames:
        detail = f"frames at {fps:g} a second: {len(item.frames)}, fewer than --min-frames {min_frames}"
        return _UnusableFile(source, "short", ", ".join(filter(None, (detail, damage))))
    return replace(item, note=damage)


def _encode(suffix: str, picture: Image) -> bytes:
    # Keep colours at full resolution, as crops are small.
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
    settings = [*jpeg, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444] if suffix == ".jpg" else []
    return bytes(cv2.imencode(suffix, picture[..., ::-1], settings)[1].tobytes())


def _check_unreadable(contents: SourceScan, config: BuildConfig) -> None:
    unreadable = [entry for entry in contents.left_out if entry.reason == "unreadable"]
    limit = MAX_UNREADABLE if config.kind == "images" else MAX_UNREADABLE_CLIPS
    if len(unreadable) > max(1, limit * len(contents.sources)):
        rule = f"at most {limit:.0%} of the {config.kind} (or one) may be unreadable"
        next_step = f"mend or remove them, such as {unreadable[0].name}: {unreadable[0].detail}"
        raise DataError(problem(str(config.folder), rule, f"{len(unreadable)} of {len(contents.sources)}", next_step))
