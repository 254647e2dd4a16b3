import numpy as np
import pytest

from whc.demo.regions import WHOLE_FRAME, Region, parse
from whc.errors import UsageError


def test_parse_reads_four_fractions() -> None:
    assert parse("0.25, 0.5,0.5,0.25") == Region(0.25, 0.5, 0.5, 0.25)
    assert parse("0,0,1,1") == WHOLE_FRAME


def test_parse_allows_thirds_that_add_up_to_one() -> None:
    assert parse("0.7,0,0.3,1").pixels(10, 10) == (7, 0, 10, 10)


@pytest.mark.parametrize(
    "text",
    ["", "a,b,c,d", "0,0,1", "0,0,1,1,1", "-0.1,0,1,1", "0.5,0,0.6,1", "0,0,0,1", "0,0,1,-1", "nan,0,1,1", "0,0,inf,1"],
)
def test_parse_refuses_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="region: must be x,y,w,h") as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_crop_cuts_the_box_out() -> None:
    picture = np.arange(10 * 20 * 3, dtype=np.uint16).astype(np.uint8).reshape(10, 20, 3)
    assert np.array_equal(Region(0.5, 0.2, 0.25, 0.5).crop(picture), picture[2:7, 10:15])
    assert np.array_equal(WHOLE_FRAME.crop(picture), picture)


@pytest.mark.parametrize("region", [Region(0, 0, 1e-6, 1e-6), Region(0.999999, 0.999999, 1e-6, 1e-6)])
def test_smallest_region_still_holds_a_pixel(region: Region) -> None:
    assert region.crop(np.zeros((48, 48, 3), np.uint8)).shape == (1, 1, 3)
