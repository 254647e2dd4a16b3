"""Conversion of pictures to a network's input, shared by the trainer and the demo.

Pictures are RGB uint8 (height, width, 3) throughout; the network takes float32 in 0..1.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from whc.data import antialias
from whc.environment import MAX_PIXELS

Image = NDArray[np.uint8]

RESIZE_MODE = "stretch"
INTERPOLATION = "area"
TOO_LARGE = f"{MAX_PIXELS // 10**6} megapixels"

# We report each file that cannot be decoded; OpenCV would print its own message too.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


class Unreadable(Exception):
    """A file does not hold a picture that can be decoded; the message says why, in a few words."""


def decode(encoded: bytes) -> Image | None:
    """The picture that `read_image` returns, or None if it raises."""
    try:
        return read_image(encoded)
    except Unreadable:
        return None


def fault(encoded: bytes) -> str:
    """The reason why `decode` returns None."""
    try:
        read_image(encoded)
    except Unreadable as error:
        return str(error)
    return "can be decoded"


def read_image(encoded: bytes) -> Image:
    """Decode an image file (JPEG, PNG, WebP ...) to RGB uint8 (height, width, 3).

    Grey and palette pictures become RGB, CMYK is converted, 16 bits are scaled to 8, an alpha channel is dropped (its
    colours stay), EXIF orientation is applied, and of several frames the first is taken.

    Raises:
        Unreadable: the file is damaged, no image, or, according to its header, larger than MAX_PIXELS.
    """
    if not encoded:
        raise Unreadable("empty or missing")
    if encoded.startswith(_PNG_SIGNATURE) and not _is_whole_png(encoded):
        raise Unreadable("cannot be decoded")
    try:
        picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        is_too_large = "CV_IO_MAX_IMAGE" in str(error)
        raise Unreadable(f"over {TOO_LARGE}" if is_too_large else "cannot be decoded") from error
    if picture is None:
        is_heic = encoded[4:8] == b"ftyp" and encoded[8:12] in HEIC_BRANDS
        raise Unreadable("HEIC, convert it to JPEG" if is_heic else "cannot be decoded")
    return np.asarray(picture, np.uint8)


def _is_whole_png(encoded: bytes) -> bool:
    """Whether all chunks that a picture needs are complete and undamaged; else libpng would print on stderr."""
    start = len(_PNG_SIGNATURE)
    while start + 12 <= len(encoded):
        kind, stop = encoded[start + 4 : start + 8], start + 8 + int.from_bytes(encoded[start : start + 4])
        is_critical = kind[:1].isupper()
        if is_critical and zlib.crc32(encoded[start + 4 : stop]) != int.from_bytes(encoded[stop : stop + 4]):
            return False
        if kind == b"IEND":
            return True
        start = stop + 4
    return False


def resize(picture: Image, height: int, width: int, interpolation: str = INTERPOLATION) -> Image:
    """Stretch a picture to (height, width, 3).

    Args:
        picture: of any size.
        height: in pixels.
        width: in pixels.
        interpolation: a key of `INTERPOLATION_METHODS`. `area` averages areas to shrink a picture, and is bilinear to
            enlarge it. `bilinear` takes the four nearest pixels at every size, `nearest` one. `bilinear_antialias` is
            Pillow's bilinear filter, which becomes wider as it shrinks more.
    """
    if picture.shape[:2] == (height, width):
        return picture
    return INTERPOLATION_METHODS[interpolation](picture, height, width)


def _area(picture: Image, height: int, width: int) -> Image:
    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def _bilinear(picture: Image, height: int, width: int) -> Image:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _nearest(picture: Image, height: int, width: int) -> Image:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


INTERPOLATION_METHODS: dict[str, Callable[[Image, int, int], Image]] = {
    "area": _area,
    "bilinear": _bilinear,
    "bilinear_antialias": antialias.shrink,
    "nearest": _nearest,
}


def rotate(picture: Image, degrees: float) -> Image:
    """A picture (height, width, 3) turned counter-clockwise about its centre; the border fills the empty corners."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    turned = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, np.uint8)


def with_margin(picture: Image, share: float) -> Image:
    """A crop (height, width, 3) with margins of a share of its sides, resized to its own size.

    A margin shows the crop mirrored at its edges (cv2.BORDER_REFLECT_101). With a negative share, the crop loses that
    share on each side.
    """
    height, width = picture.shape[:2]
    down, across = round(abs(share) * height), round(abs(share) * width)
    if share < 0:
        changed = picture[down : height - down, across : width - across]
    else:
        changed = cv2.copyMakeBorder(picture, down, down, across, across, cv2.BORDER_REFLECT_101)
    return resize(np.asarray(changed, np.uint8), height, width)


# Each function arranges windows of frames (N, T, 3, H, W), oldest first, as a kind of network expects them. It works on
# arrays and on tensors, so that the trainer can augment frames before it arranges them.
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "still": lambda windows: windows[:, 0],
    "frame_stack": lambda windows: windows.reshape(len(windows), -1, *windows.shape[3:]),
    "lstm": lambda windows: windows,
    "cnn3d": lambda windows: windows.swapaxes(1, 2),
}


def pack(windows: Image, layout: str) -> Image:
    """Arrange windows of frames as a network's input, still as uint8 (training moves bytes, not floats).

    Args:
        windows: (N, T, H, W, 3), oldest frame first.
        layout: `still` gives (N, 3, H, W) and needs T = 1; `frame_stack` (N, T*3, H, W); `lstm` (N, T, 3, H, W);
            `cnn3d` (N, 3, T, H, W).
    """
    return np.ascontiguousarray(LAYOUTS[layout](windows.transpose(0, 1, 4, 2, 3)))


def to_input(windows: Image, layout: str) -> NDArray[np.float32]:
    """The network's input: `pack`, as float32 in 0..1."""
    return pack(windows, layout).astype(np.float32) / np.float32(255)
