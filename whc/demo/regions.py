"""The region of each frame that the model sees: a fixed box, by default the complete frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

from whc.data.preprocess import Image
from whc.errors import UsageError, problem


@dataclass(frozen=True)
class Region:
    """A box in fractions of the frame, 0..1, so it fits every frame size; (`x`, `y`) is its top left corner."""

    x: float
    y: float
    width: float
    height: float

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom (exclusive) in a frame of this size, at least one pixel each way."""
        left = min(round(self.x * width), width - 1)
        top = min(round(self.y * height), height - 1)
        right = max(round((self.x + self.width) * width), left + 1)
        bottom = max(round((self.y + self.height) * height), top + 1)
        return left, top, right, bottom

    def crop(self, picture: Image) -> Image:
        """The part of a picture (H, W, 3) inside the box, a view."""
        left, top, right, bottom = self.pixels(*picture.shape[:2])
        return picture[top:bottom, left:right]


WHOLE_FRAME = Region(0, 0, 1, 1)


def parse(text: str) -> Region:
    """Read `x,y,w,h`, fractions of the frame.

    Raises:
        UsageError: the text is not four numbers, or the box is empty or partly outside the frame.
    """
    rule = "must be x,y,w,h, fractions of a box inside the frame"
    error = UsageError(problem("region", rule, text, "the middle of the frame is 0.25,0.25,0.5,0.5"))
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise error from None
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise error
    x, y, width, height = numbers
    is_inside = x >= 0 and y >= 0 and x + width <= 1 + 1e-9 and y + height <= 1 + 1e-9
    if not is_inside or width <= 0 or height <= 0:
        raise error
    return Region(x, y, width, height)
