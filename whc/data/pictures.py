"""Finds, lists and reads picture files, in the same way for predict, the demo and `whc data build`."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from whc.data.preprocess import HEIC_BRANDS, Image, Unreadable, read_image
from whc.data.shards import data_inside
from whc.environment import MAX_PIXELS
from whc.errors import DataError, WhcError

# A file without these suffixes is recognised by its first bytes; one with them that cannot be decoded is damaged.
# fmt: off
PICTURE_SUFFIXES = frozenset(
    (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".webp", ".avif", ".gif", ".tif",
        ".tiff", ".jp2", ".j2k", ".pbm", ".pgm", ".ppm", ".pnm", ".pam", ".pfm", ".hdr", ".ras", ".sr",
        ".heic", ".heif",
    )
)
VIDEO_SUFFIXES = frozenset(
    (
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".mjpeg", ".mjpg",
        ".wmv", ".3gp", ".flv", ".ogv",
    )
)
# fmt: on

MAX_FILE_BYTES = 6 * MAX_PIXELS  # the largest picture with 16 bits a colour, not compressed

_FILE_SIGNATURES = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",  # TIFF
    b"MM\x00*",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",  # JPEG 2000
    b"\xff\x4f\xff\x51",
    b"#?RADIANCE",
)
_FTYP_BRANDS = (b"avif", b"avis", *HEIC_BRANDS)  # of a file that begins with a box `ftyp`


def is_picture(path: Path) -> bool:
    """Whether a file is a picture: by its suffix, so that damaged files are reported, or else by its first bytes."""
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return True
    if is_video(path):
        return False
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    return is_webp or head.startswith(_FILE_SIGNATURES) or (head[4:8] == b"ftyp" and head[8:12] in _FTYP_BRANDS)


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its suffix alone."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_still(path: Path) -> bool:
    """Whether a file that is given alone is a single picture; a GIF is played as a video."""
    return path.suffix.lower() != ".gif" and is_picture(path)


def read_file(path: Path) -> bytes:
    """The bytes of a picture's file.

    Raises:
        Unreadable: the system refuses, or the file is larger than any picture that is decoded.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise Unreadable(f"over {MAX_FILE_BYTES // 10**6} MB")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error


def read_picture(path: Path) -> Image:
    """The picture in a file, RGB uint8 (height, width, 3).

    Raises:
        Unreadable: as `read_file` and `whc.data.preprocess.read_image`.
    """
    return read_image(read_file(path))


def files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder, then of its subfolders, in order of their names, without hidden ones.

    Links to files are included, also broken and circular ones, so that they are reported. Links to folders are not.

    Raises:
        DataError: a folder cannot be read.
    """
    try:
        with os.scandir(folder) as scan:
            entries = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: must be a readable folder, got: {error.strerror}; check its permissions") from error
    yield from (Path(entry.path) for entry in entries if _is_file(entry))
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(Path(entry.path))


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return entry.is_symlink()


def pictures_below(folder: Path) -> tuple[list[Path], int]:
    """The pictures of a folder and its subfolders, and the number of other files.

    Raises:
        DataError: a folder cannot be read, or there is no picture.
    """
    files = list(files_below(folder))
    pictures = [path for path in files if is_picture(path)]
    if not pictures:
        advice = f"give {data_inside(folder) or 'a folder of JPEG or PNG files'}"
        raise DataError(f"{folder}: must hold images, got none among {len(files)} files; {advice}")
    return pictures, len(files) - len(pictures)


def is_text(name: str) -> bool:
    """Whether a name is printable: without control characters, line ends, and bytes that are not UTF-8."""
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name)


def require_utf8(path: Path | str, error: type[WhcError]) -> None:
    """Refuse a path that is not UTF-8: OpenCV crashes on it, and JSON cannot hold it.

    Raises:
        error: the path is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise error(f"{printable(str(path))}: must have a name in UTF-8, got other bytes; rename it") from None


def printable(name: str) -> str:
    """A name as one line of printable text: other characters are escaped."""
    return "".join(c if is_text(c) else c.encode("unicode_escape").decode() for c in name)
