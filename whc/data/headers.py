"""The size of a JPEG or PNG by its header, so that nothing larger is decoded for somebody who is not known."""

from __future__ import annotations

from whc.data.preprocess import Unreadable

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the markers of frames, which begin with the size
_JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a length


def size(encoded: bytes) -> tuple[int, int]:
    """Height and width in pixels, before any orientation in the file is applied.

    Raises:
        Unreadable: the file is neither JPEG nor PNG, or ends before its size.
    """
    if encoded.startswith(_PNG_START) and encoded[12:16] == b"IHDR" and len(encoded) >= 24:
        return int.from_bytes(encoded[20:24]), int.from_bytes(encoded[16:20])
    if encoded.startswith(_JPEG_START):
        return _jpeg_size(encoded)
    raise Unreadable("neither JPEG nor PNG")


def _jpeg_size(encoded: bytes) -> tuple[int, int]:
    start = len(_JPEG_START)
    while start + 9 <= len(encoded) and encoded[start] == 0xFF:
        marker = encoded[start + 1]
        if marker in _JPEG_SIZES:
            return int.from_bytes(encoded[start + 5 : start + 7]), int.from_bytes(encoded[start + 7 : start + 9])
        if marker == 0xFF:  # bytes between segments may be filled
            start += 1
        elif marker in _JPEG_ALONE:
            start += 2
        else:
            start += 2 + int.from_bytes(encoded[start + 2 : start + 4])
    raise Unreadable("a JPEG without its size")
