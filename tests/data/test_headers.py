"""The size of a picture by its header."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.data import headers
from whc.data.preprocess import Unreadable

SIDES = st.integers(1, 300)


@given(SIDES, SIDES, st.sampled_from([".png", ".jpg"]), st.booleans())
def test_size_is_the_picture_s(height: int, width: int, suffix: str, is_progressive: bool) -> None:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(is_progressive)] if suffix == ".jpg" else []
    encoded = cv2.imencode(suffix, np.zeros((height, width, 3), np.uint8), options)[1].tobytes()
    assert headers.size(encoded) == (height, width)


@given(st.binary(max_size=64), st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"]))
def test_any_bytes_have_a_size_or_are_refused(content: bytes, start: bytes) -> None:
    try:
        height, width = headers.size(start + content)
    except Unreadable as error:
        assert str(error) in ("neither JPEG nor PNG", "a JPEG without its size")
    else:
        assert min(height, width) >= 0


def test_other_kinds_are_refused() -> None:
    encoded = cv2.imencode(".bmp", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    with pytest.raises(Unreadable, match="neither JPEG nor PNG"):
        headers.size(encoded)
