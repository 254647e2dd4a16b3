"""Reading pictures and clips from their files, as encoded frames with their appearances."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event

import cv2

from whc.data import duplicates
from whc.data.cropping import Followed, crop_edges, cut
from whc.data.dataset import MAX_UNREADABLE
from whc.data.duplicates import Appearance
from whc.data.pictures import read_file
from whc.data.preprocess import Image, Unreadable, read_image
from whc.data.sources import BuildConfig, Reason, SourceFile, SourceScan
from whc.data.video import open_video, sampled
from whc.errors import DataError, problem

COMPLETE = 0  # in place of a person's identity, where the complete frame is a row
MAX_UNREADABLE_CLIPS = 0.1  # more than for pictures, as a folder holds fewer clips

_JPEG_QUALITY = 95
_KEPT_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # JPEG and PNG: these files go into the data set unchanged
_SHAPE_TOLERANCE = 0.02  # of the height that a picture's width and its labels tell
_MIN_LENGTH_SHARE = 0.9  # of the length in a header, which may be wrong by a few frames


@dataclass(frozen=True)
class Item:
    """A picture or a clip: its encoded frames by number (0 for a picture), and their appearances.

    `note` describes damage, if there is any; `group` and `split` are set later. `file` is the name of the file that it
    comes from: several people of one clip are an item each.
    """

    source: SourceFile
    frames: dict[int, bytes] = field(default_factory=dict)
    appearances: list[Appearance] = field(default_factory=list)
    note: str = ""
    group: str = ""
    split: str = ""
    file: str = ""


@dataclass(frozen=True)
class _UnusableFile:
    source: SourceFile
    reason: Reason
    detail: str


def read(
    contents: SourceScan,
    config: BuildConfig,
    on_progress: Callable[[int, int], None] | None,
    follow: Callable[[], Followed] | None = None,
) -> list[Item]:
    """Read all files, in order; those that give no rows go to `contents.left_out`.

    Args:
        contents: the files.
        config: settings of the build.
        on_progress: called with the number of files read and of all files.
        follow: begins to follow the people of a clip, whose crops become rows; None keeps complete frames.

    Raises:
        DataError: too many files are unreadable.
    """
    stop = Event()

    def work(source: SourceFile) -> list[Item | _UnusableFile]:
        if config.kind == "images":
            return [_picture(source)]
        return list(_clip(source, config, follow() if follow else _complete, stop))

    items = []
    pool = ThreadPoolExecutor(os.cpu_count())  # no more threads, as a large picture takes some hundred megabytes
    try:
        for count, results in enumerate(pool.map(work, contents.sources), 1):
            for result in results:
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
    return Item(source, {0: content}, [duplicates.appearance(picture)], file=source.name)


def _has_other_shape(picture: Image, label_size: tuple[int, int]) -> bool:
    """Whether a picture is not one of this width and height, nor that one made smaller or larger."""
    height, width = picture.shape[:2]
    expected = width * label_size[1] / label_size[0]
    return bool(abs(height - expected) > 1 + _SHAPE_TOLERANCE * expected)


def _complete(picture: Image, seconds: float) -> Sequence[tuple[int, Sequence[float]]]:
    """The complete frame, as if it were the box of one person without a number."""
    del picture, seconds
    return ((COMPLETE, ()),)


def _clip(source: SourceFile, config: BuildConfig, people: Followed, stop: Event) -> Iterator[Item | _UnusableFile]:
    """A clip, or each person in it."""
    fps = config.fps or 1.0
    items: dict[int, Item] = {}
    frames = 0
    try:
        with open_video(source.path) as video:
            header_seconds = video.count / video.fps if video.count else 0.0
            for number, picture in sampled(video, fps):
                frames = number + 1
                for person, box in people(picture, number / fps):
                    item = items.setdefault(person, _item_of(source, person))
                    crop = cut(picture, crop_edges(box, picture.shape[:2], config.crop)) if config.crop else picture
                    item.frames[number] = _encode(".jpg", crop)
                    item.appearances.append(duplicates.appearance(crop))
                if stop.is_set():
                    break
    except DataError as error:
        yield _UnusableFile(source, "unreadable", str(error).removeprefix(f"{source.path}: "))
        return
    seconds = frames / fps
    is_short = seconds < _MIN_LENGTH_SHARE * header_seconds
    damage = f"ends after {seconds:.1f} of {header_seconds:.1f} s" if is_short else ""
    if not items:
        yield _UnusableFile(source, "nothing found", f"in {frames} frames")
    for item in items.values():
        yield _long_enough(item, config, damage)


def _item_of(source: SourceFile, person: int) -> Item:
    name = source.name if person == COMPLETE else f"{source.name}/{person}"
    return Item(replace(source, name=name), file=source.name)


def _long_enough(item: Item, config: BuildConfig, damage: str) -> Item | _UnusableFile:
    min_frames = config.min_frames or 1
    if len(item.frames) < min_frames:
        detail = f"frames at {config.fps or 1:g} a second: {len(item.frames)}, fewer than --min-frames {min_frames}"
        return _UnusableFile(item.source, "short", ", ".join(filter(None, (detail, damage))))
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
