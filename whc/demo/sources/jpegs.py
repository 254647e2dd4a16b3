"""JPEGs one after another in a stream of bytes: on stdin, or as the parts of an MJPEG stream over HTTP."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from whc.data.preprocess import Image, Unreadable, read_image
from whc.data.video import ASSUMED_FPS, Frame
from whc.demo.sources.files import PICTURES_FPS, numbered
from whc.demo.sources.source import Source, size_of
from whc.errors import DataError

MAX_JPEG_BYTES = 50_000_000

_START = b"\xff\xd8\xff"
_END_CODE, _START_CODE, _SCAN_CODE = 0xD9, 0xD8, 0xDA
# In compressed data, FF 00 is a byte 255, and FF D0 to FF D7 are places to restart at.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def source(name: str, chunks: Iterator[bytes], is_timed: bool) -> Source:
    """A source of the pictures in a stream of bytes.

    Args:
        name: of the source.
        chunks: the bytes, in pieces of any size.
        is_timed: whether each picture is at the time when it comes; otherwise they are at an even distance, as files.

    Raises:
        DataError: there is no picture.
    """
    fps, rate = (ASSUMED_FPS, ASSUMED_FPS) if is_timed else (None, PICTURES_FPS)
    stream = Source(name, fps, (0, 0), None, iter(()), lambda: rate)
    pictures = _decoded(split(name, chunks), stream)
    first_picture = next(pictures, None)
    if first_picture is None:
        got = f"none, but {stream.unreadable[0]}" if stream.unreadable else "none"
        raise DataError(f"{name}: must give JPEG pictures one after another, got {got}; check what sends them")
    stream.size = size_of(first_picture)
    stream.frames = _timed(first_picture, pictures) if is_timed else numbered(first_picture, pictures)
    return stream


def _decoded(encoded_pictures: Iterator[bytes], stream: Source) -> Iterator[Image]:
    for number, encoded in enumerate(encoded_pictures):
        try:
            yield read_image(encoded)
        except Unreadable as error:
            stream.unreadable.append(f"picture {number}: {error}")


def _timed(first_picture: Image, later: Iterator[Image]) -> Iterator[Frame]:
    started = time.monotonic()
    yield Frame(first_picture, 0.0)
    for picture in later:
        yield Frame(picture, time.monotonic() - started)


def split(name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The JPEGs in a stream of bytes; what is between them is skipped, and one that is cut off comes as it is.

    Raises:
        DataError: a JPEG does not end, or none begins, within MAX_JPEG_BYTES.
    """
    splitter, size = _Splitter(), 0
    for chunk in chunks:
        size += len(chunk)
        for encoded in splitter.add(chunk):
            size = 0
            yield encoded
        if size > MAX_JPEG_BYTES:
            rule = f"must give JPEG pictures of at most {MAX_JPEG_BYTES // 10**6} MB"
            raise DataError(f"{name}: {rule}, got no end of one; check what sends them")
    if rest := splitter.rest:
        yield rest


class _Splitter:
    """Finds the end of each JPEG by its segments: a preview in its metadata has an end of its own."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._at = 0  # place of the next marker of the JPEG that begins at 0; 0 before there is one
        self._is_in_scan = False

    def add(self, chunk: bytes) -> Iterator[bytes]:
        """The JPEGs that are complete with these bytes."""
        self._held += chunk
        while stop := self._stop():
            yield bytes(self._held[:stop])
            del self._held[:stop]
            self._at, self._is_in_scan = 0, False

    @property
    def rest(self) -> bytes:
        """The JPEG that has begun."""
        return bytes(self._held) if self._at else b""

    def _stop(self) -> int:
        """Where the first JPEG stops: after its end, or where it is damaged. 0: that is still to come."""
        if not self._at and not self._begin():
            return 0
        while self._skip_scan() and len(self._held) >= self._at + 4:
            code = self._held[self._at + 1]
            if code == _END_CODE:
                return self._at + 2
            if self._held[self._at] != 0xFF or code == _START_CODE:
                return self._at
            self._at += 2 + int.from_bytes(self._held[self._at + 2 : self._at + 4])
            self._is_in_scan = code == _SCAN_CODE
        is_end = self._held[self._at : self._at + 2] == bytes((0xFF, _END_CODE))
        return self._at + 2 if is_end and not self._is_in_scan else 0

    def _begin(self) -> bool:
        """Drop what is before the next JPEG; whether there is one."""
        start = self._held.find(_START)
        if start < 0:
            del self._held[: 1 - len(_START)]
            return False
        del self._held[:start]
        self._at = 2
        return True

    def _skip_scan(self) -> bool:
        """Go to the marker after compressed data; whether it is there."""
        if self._is_in_scan:
            marker = _MARKER_IN_SCAN.search(self._held, self._at)
            if marker is None:
                self._at = max(self._at, len(self._held) - 1)
                return False
            self._at, self._is_in_scan = marker.start(), False
        return True
