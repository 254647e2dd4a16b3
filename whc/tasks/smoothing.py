"""Decisions smoothed over time: from the answers to single frames to a state that lasts.

The law, for one person (or for the region of a stream), where all times are in seconds:

1. *Vote.* Every decision of the model is a vote: which class, or for each of several labels whether it is called.
   Hysteresis (a Schmitt trigger) keeps a vote near the border: a label that was not called is called from
   `min(threshold + hysteresis, (threshold + 1) / 2)` on, one that was called from
   `max(threshold - hysteresis, threshold / 2)` on; of three classes and more the likeliest gets the vote once its
   probability is `2 * hysteresis` above that of the class of the previous vote. The first vote is the plain answer.
2. *Time.* A vote stands for the time since the previous vote, the first one for no time. So votes count by seconds,
   whatever the frame rate, also a varying one.
3. *State.* The state changes to the vote of the present frame if this vote has been the same for `short_s` at least
   (the short vote is unanimous), and stood for half of the last `long_s` at least (the long vote has a majority).
   Before the first change there is no state.

With several labels each has a vote and a state of its own, and there is no state before all have one. With all three
parameters 0 the state is the plain answer to each frame. A clean change is followed after `max(short_s, long_s / 2)`;
what lasts for less never changes the state. There are never more changes of the state than of the answers.

The two histories are those of bbalg's `state_verdict` (https://github.com/PINTO0309/bbalg), there in frames: a state
begins with half of the long one, and all but one of the short one.

Bundles carry this module: it imports nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import ClassVar

Votes = tuple[int, ...]
"""One number for each question: the class, or for each label whether it is called. () where nothing is decided."""

MAX_LONG_S = 60.0
TOLERANCE_S = 1e-6  # sums of times are rounded


@dataclass(frozen=True)
class Smoothing:
    """Parameters of the law: `short_s` and `long_s` in seconds, `hysteresis` in probability."""

    short_s: float = 0.4
    long_s: float = 0.8
    hysteresis: float = 0.1

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.short_s <= self.long_s <= MAX_LONG_S:
            raise ValueError(
                f"0 <= 2 * short_s <= long_s <= {MAX_LONG_S:g} must hold, got {self.short_s}, {self.long_s}"
            )
        if not 0 <= self.hysteresis < 0.5:
            raise ValueError(f"hysteresis must be in 0..0.5, got {self.hysteresis}")


NO_SMOOTHING = Smoothing(0.0, 0.0, 0.0)


def border(threshold: float, hysteresis: float, was_called: int | None) -> float:
    """Least probability from which a label gets the vote; `was_called` is the previous vote, None if there is none."""
    if was_called is None:
        return threshold
    if was_called:
        return max(threshold - hysteresis, threshold / 2)
    return min(threshold + hysteresis, (threshold + 1) / 2)


class State:
    """The state of one question, as votes come in; `option` is None before the first."""

    def __init__(self, smoothing: Smoothing) -> None:
        self.option: int | None = None
        self.smoothing = smoothing
        self._runs: deque[tuple[float, float, int]] = deque()  # of equal votes: from, to, which

    def vote(self, option: int, seconds: float) -> None:
        """Add the vote of the next frame, at its time."""
        begin = self._runs[-1][1] if self._runs else seconds
        if self._runs and self._runs[-1][2] == option:
            begin, _, _ = self._runs.pop()
        self._runs.append((begin, seconds, option))
        earliest = seconds - self.smoothing.long_s
        while self._runs[0][1] < earliest:
            self._runs.popleft()
        is_unanimous = seconds - begin >= self.smoothing.short_s - TOLERANCE_S
        stands_for = sum(end - max(start, earliest) for start, end, voted in self._runs if voted == option)
        if is_unanimous and stands_for >= self.smoothing.long_s / 2 - TOLERANCE_S:
            self.option = option
