"""Decoding, resizing, and packing windows into a network's input."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageOps

from whc.data import preprocess

SMALL = st.integers(1, 6)


def picture(height: int, width: int) -> preprocess.Image:
    return np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("suffix", "channels"), [(".png", 1), (".png", 3), (".png", 4), (".jpg", 1), (".jpg", 3)])
def test_decode_gives_three_channels(suffix: str, channels: int) -> None:
    stored = np.full((5, 7, channels), 130, np.uint8)
    decoded = preprocess.decode(cv2.imencode(suffix, stored)[1].tobytes())
    assert decoded is not None
    assert decoded.shape == (5, 7, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - 130).max() <= 2


def test_decode_gives_rgb() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    decoded = preprocess.decode(cv2.imencode(".png", red)[1].tobytes())
    assert decoded is not None
    assert decoded[0, 0].tolist() == [255, 0, 0]


def soft(height: int = 16, width: int = 24) -> Pillow.Image:
    """A colourful picture without fine detail, so that JPEG keeps it."""
    coarse = np.random.default_rng(5).integers(0, 256, (3, 4, 3), np.uint8)
    return Pillow.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def saved(image: Pillow.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def with_alpha(mode: str) -> Pillow.Image:
    """Transparent on the left, half so on the right."""
    image = soft().convert(mode)
    ramp = np.zeros((16, 24), np.uint8)
    ramp[:, 12:] = 128
    image.putalpha(Pillow.fromarray(ramp))
    return image


def cmyk(adobe: str) -> bytes:
    """A CMYK JPEG with Adobe's marker as Pillow writes it (inverted), for YCCK, or without it."""
    content = saved(soft().convert("CMYK"), "JPEG", quality=95, subsampling=0)
    at = content.index(b"Adobe")
    if adobe == "ycck":
        return content[: at + 11] + b"\x02" + content[at + 12 :]
    return content if adobe == "inverted" else content[: at - 4] + content[at + 12 :]


DECODED: dict[str, Callable[[], bytes]] = {
    "grey PNG": lambda: saved(soft().convert("L"), "PNG"),
    "grey JPEG": lambda: saved(soft().convert("L"), "JPEG"),
    "black and white": lambda: saved(soft().convert("1"), "PNG"),
    "grey and alpha": lambda: saved(with_alpha("LA"), "PNG"),
    "RGB and alpha": lambda: saved(with_alpha("RGBA"), "PNG"),
    "palette": lambda: saved(soft().quantize(16), "PNG"),
    "palette of 2 bits": lambda: saved(soft().quantize(4), "PNG", bits=2),
    "palette and transparency": lambda: saved(soft().quantize(16), "PNG", transparency=3),
    "CMYK": lambda: cmyk("none"),
    "CMYK as Adobe inverts it": lambda: cmyk("inverted"),
    "YCCK": lambda: cmyk("ycck"),
    "progressive JPEG": lambda: saved(soft(), "JPEG", progressive=True),
    "JPEG and other bytes": lambda: saved(soft(), "JPEG") + b"trailing",
    "WebP": lambda: saved(soft(), "WEBP"),
    "BMP": lambda: saved(soft(), "BMP"),
    "TIFF": lambda: saved(soft(), "TIFF"),
    "first of an animation": lambda: saved(soft(), "PNG", save_all=True, append_images=[soft().convert("L")]),
}


def check_decoded(content: bytes, expected: Pillow.Image) -> None:
    decoded = preprocess.decode(content)
    assert decoded is not None
    assert decoded.dtype == np.uint8
    assert decoded.shape == (expected.height, expected.width, 3)
    assert np.abs(decoded.astype(int) - np.asarray(expected.convert("RGB"))).max() <= 2


@pytest.mark.parametrize("kind", DECODED)
def test_decode_agrees_with_pillow(kind: str) -> None:
    content = DECODED[kind]()
    check_decoded(content, Pillow.open(io.BytesIO(content)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG")])
def test_decode_turns_pictures_upright(orientation: int, mode: str, kind: str) -> None:
    exif = Pillow.Exif()
    exif[0x112] = orientation
    content = saved(soft().convert(mode), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    check_decoded(content, ImageOps.exif_transpose(Pillow.open(io.BytesIO(content))))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_decode_scales_16_bits_to_8(channels: int) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (9, 7, channels), np.uint16)
    decoded = preprocess.decode(cv2.imencode(".png", deep)[1].tobytes())
    assert decoded is not None
    assert decoded.dtype == np.uint8
    colours = deep[..., :3] if channels == 1 else deep[..., 2::-1]
    np.testing.assert_allclose(decoded, np.broadcast_to(colours / 257, (9, 7, 3)), atol=1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_decode_says_none_of_what_is_cut_off_and_prints_nothing(
    kind: str, part: float, capfd: pytest.CaptureFixture[str]
) -> None:
    content = saved(soft(160, 240), kind)
    assert preprocess.decode(content[: int(part * len(content))]) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("chunk", [b"IHDR", b"IDAT", b"IEND"])
def test_decode_says_none_of_a_damaged_png_and_prints_nothing(chunk: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray(saved(soft(), "PNG"))
    content[content.index(chunk) + 4] ^= 255
    assert preprocess.decode(bytes(content)) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_decode_says_none_of_what_is_no_image(content: bytes) -> None:
    assert preprocess.decode(content) is None


def header_says(kind: str, width: int, height: int) -> bytes:
    """A small picture's file whose header tells another size."""
    content = bytearray(saved(soft(), kind, **({"lossless": False} if kind == "WEBP" else {})))
    if kind == "PNG":
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    elif kind == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", height, width)
    elif kind == "AVIF":
        at = content.index(b"ispe") + 8
        content[at : at + 8] = struct.pack(">II", width, height)
    else:
        at, form = {"GIF": (6, "<HH"), "BMP": (18, "<ii"), "WEBP": (26, "<HH")}[kind]
        content[at : at + struct.calcsize(form)] = struct.pack(form, width, height)
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF"])
def test_a_picture_over_100_megapixels_is_refused_by_its_header(kind: str) -> None:
    with pytest.raises(preprocess.Unreadable, match="over 100 megapixels"):
        preprocess.read_image(header_says(kind, 10001, 10000))
    assert preprocess.decode(header_says(kind, 10001, 10000)) is None
    assert preprocess.fault(header_says(kind, 10001, 10000)) == "over 100 megapixels"


def test_a_header_of_netpbm_too() -> None:
    assert preprocess.fault(b"P6 10001 10000 255\n") == "over 100 megapixels"
    assert preprocess.fault(b"P6 1001 1000 255\n") == "cannot be decoded"


def test_what_is_wrong_with_a_picture() -> None:
    assert preprocess.fault(b"") == "empty or missing"
    assert preprocess.fault(b"text") == "cannot be decoded"
    assert preprocess.fault(b"\0\0\0\x18ftypheic" + bytes(100)) == "HEIC, convert it to JPEG"


@given(SMALL, SMALL, SMALL, SMALL)
def test_resize_keeps_the_range(height: int, width: int, new_height: int, new_width: int) -> None:
    source = picture(height, width)
    resized = preprocess.resize(source, new_height, new_width)
    assert resized.shape == (new_height, new_width, 3)
    assert resized.dtype == np.uint8
    assert source.min() <= resized.min()
    assert resized.max() <= source.max()


def test_resize_averages_areas_and_leaves_the_right_size_alone() -> None:
    source = picture(4, 6)
    assert preprocess.resize(source, 4, 6) is source
    means = source.reshape(2, 2, 3, 2, 3).mean((1, 3))
    np.testing.assert_allclose(preprocess.resize(source, 2, 3), means, atol=1)


@given(SMALL, SMALL, SMALL, SMALL)
def test_frame_stack_puts_frame_t_channel_c_at_3t_plus_c(count: int, frames: int, height: int, width: int) -> None:
    shape = (count, frames, height, width, 3)
    windows = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    packed = preprocess.pack(windows, "frame_stack")
    assert packed.shape == (count, frames * 3, height, width)
    assert packed.dtype == np.uint8
    assert packed.flags.c_contiguous
    for t in range(frames):
        for c in range(3):
            np.testing.assert_array_equal(packed[:, t * 3 + c], windows[:, t, :, :, c])


def test_still_is_a_stack_of_one() -> None:
    windows = picture(4, 5)[None, None]
    np.testing.assert_array_equal(preprocess.pack(windows, "still"), preprocess.pack(windows, "frame_stack"))


@pytest.mark.parametrize(("layout", "axes"), [("lstm", (0, 1, 4, 2, 3)), ("cnn3d", (0, 4, 1, 2, 3))])
def test_layouts_with_an_axis_of_time(layout: str, axes: tuple[int, ...]) -> None:
    windows = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 6, 3), np.uint8)
    packed = preprocess.pack(windows, layout)
    assert packed.flags.c_contiguous
    np.testing.assert_array_equal(packed, windows.transpose(axes))


@pytest.mark.parametrize("interpolation", preprocess.INTERPOLATION_METHODS)
def test_every_interpolation_leaves_the_right_size_and_one_colour_alone(interpolation: str) -> None:
    source = picture(4, 6)
    assert preprocess.resize(source, 4, 6, interpolation) is source
    plain = np.full((9, 7, 3), (10, 20, 30), np.uint8)
    assert (preprocess.resize(plain, 4, 5, interpolation) == (10, 20, 30)).all()


def test_to_input_scales_bytes_to_0_1() -> None:
    windows = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16, 1).repeat(3, -1)
    values = preprocess.to_input(windows, "still")
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[0, 0].ravel(), np.arange(256) / 255, rtol=1e-6)
