"""Changes of the test pictures under which models are scored too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from whc.data.preprocess import Image, rotate


@dataclass(frozen=True)
class Condition:
    """A change of the test pictures under which a model is scored too.

    `change` takes and returns a picture, uint8 (H, W, 3). `move` (2, 3) is the affine map of a point by that change, in
    pixels from the centre, x to the right and y down.
    """

    change: Callable[[Image], Image]
    move: NDArray[np.float64] = field(default_factory=lambda: np.eye(2, 3))


def turned_condition(degrees: float) -> Condition:
    """The condition of pictures turned about their centre, counterclockwise as seen."""
    angle = np.radians(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    return Condition(lambda picture: rotate(picture, degrees), np.array([[cos, sin, 0.0], [-sin, cos, 0.0]]))
