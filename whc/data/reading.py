"""Pictures and clips read from their files, each as encoded frames with what they look like."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event

import cv2

from whc.data import duplicates
from whc.data.dataset import MAX_UNREADABLE
from whc.data.duplicates import Look
from whc.data.folders import BuildConfig, Found, Reason, Source
from whc.data.pictures import read_file
from whc.data.preprocess import Image, Unreadable, read_image
from whc.data.video import open_video, sampled
from whc.errors import DataError, problem

MAX_UNREADABLE_CLIPS = 0.1  # there are fewer clips than pictures in a folder, each of many rows

_JPEG_QUALITY = 95
_KEPT = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # how the files begin that go into the data set as they are
_CUT_SHORT = 0.9  # of the length that a header tells, which may be off by a few frames


@dataclass(frozen=True)
class Item:
    """A picture or a clip: its frames, encoded, by number (0 of a picture), and how each looks.

    `note` is what is wrong with it, if anything; `group` and `split` are set later.
    """

    source: Source
    frames: dict[int, bytes] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    note: str = ""
    group: str = ""
    split: str = ""


@dataclass(frozen=True)
class _Unusable:
    source: Source
    reason: Reason
    detail: str


def read(found: Found, config: BuildConfig, on_progress: Callable[[int, int], None] | None) -> list[Item]:
    """Read all files, in order; those that give no rows go to `found.left_out`.

    Raises:
        DataError: too many of them are unreadable.
    """
    stop = Event()

    def work(source: Source) -> Item | _Unusable:
        return _picture(source) if config.kind == "images" else _clip(source, config, stop)

    items = []
    pool = ThreadPoolExecutor(os.cpu_count())  # no more, as a large picture takes some hundred megabytes
    try:
        for done, result in enumerate(pool.map(work, found.sources), 1):
            if isinstance(result, Item):
                items.append(result)
            else:
                found.leave_out(result.source, result.reason, result.detail)
            if on_progress:
                on_progress(done, len(found.sources))
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for the rest
    _check(found, config)
    return items


def _picture(source: Source) -> Item | _Unusable:
    try:
        encoded = read_file(source.path)
        picture = read_image(encoded)
    except Unreadable as error:
        return _Unusable(source, "unreadable", str(error))
    kept = encoded if encoded.startswith(_KEPT) else _encode(".png", picture)
    return Item(source, {0: kept}, [duplicates.look(picture)])


def _clip(source: Source, config: BuildConfig, stop: Event) -> Item | _Unusable:
    fps, least = config.fps or 1.0, config.min_frames or 1
    item = Item(source)
    try:
        with open_video(source.path) as video:
            told_seconds = video.count / video.fps if video.count else 0.0
            for number, picture in sampled(video, fps):
                item.frames[number] = _encode(".jpg", picture)
                item.looks.append(duplicates.look(picture))
                if stop.is_set():
                    break
    except DataError as error:
        return _Unusable(source, "unreadable", str(error).removeprefix(f"{source.path}: "))
    seconds = (max(item.frames) + 1) / fps
    damage = f"ends after {seconds:.1f} of {told_seconds:.1f} s" if seconds < _CUT_SHORT * told_seconds else ""
    if len(item.frames) < least:
        detail = f"frames at {fps:g} a second: {len(item.frames)}, fewer than --min-frames {least}"
        return _Unusable(source, "short", ", ".join(filter(None, (detail, damage))))
    return replace(item, note=damage)


def _encode(suffix: str, picture: Image) -> bytes:
    # Colours at full resolution: crops are small.
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
    settings = [*jpeg, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444] if suffix == ".jpg" else []
    return bytes(cv2.imencode(suffix, picture[..., ::-1], settings)[1].tobytes())


def _check(found: Found, config: BuildConfig) -> None:
    bad = [left for left in found.left_out if left.reason == "unreadable"]
    most = MAX_UNREADABLE if config.kind == "images" else MAX_UNREADABLE_CLIPS
    if len(bad) > max(1, most * len(found.sources)):
        rule = f"at most {most:.0%} of the {config.kind} (or one) may be unreadable"
        next_step = f"mend or remove them, such as {bad[0].name}: {bad[0].detail}"
        raise DataError(problem(str(config.folder), rule, f"{len(bad)} of {len(found.sources)}", next_step))
