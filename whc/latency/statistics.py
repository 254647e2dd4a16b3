"""What many short blocks say: medians with their intervals, and whether the machine was too noisy to believe them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
DRAWS = 1000
FEWEST_LOADS = 5
AA_TOLERANCE = 0.02
MOST_INTERRUPTED = 1 / 3


@dataclass(frozen=True)
class Estimate:
    """A median and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the interval, relative to the median."""
        return (self.high - self.low) / 2 / self.value


@dataclass(frozen=True)
class Timing:
    """Times of one network: `p50_ms`, `p90_ms`, `p99_ms` in milliseconds a pass, `ratio` to the reference network.

    `rounds` counts its blocks; `interrupted` is the share of them into which other processes broke; `settled` is
    False when the rounds ran out before the ratio's interval was narrow enough.
    """

    p50_ms: Estimate
    p90_ms: float
    p99_ms: float
    ratio: Estimate
    rounds: int
    interrupted: float
    settled: bool


def estimate(values: Times, seed: int = 0, draws: int = DRAWS) -> Estimate:
    """Median over all rounds, with its 95 % bootstrap interval.

    What is resampled are whole loads (rows): where a network lies in memory moves its time by half a per cent, and
    that changes from load to load, not from round to round. Fewer than `FEWEST_LOADS` rows cannot show it, and rounds
    are resampled instead. The percentiles are those of the expanded interval, which makes up for few rows (Hesterberg
    2015, "What Teachers Should Know About the Bootstrap", section 5.3).

    Args:
        values: (loads, rounds of each load), or (rounds,).
        seed: of the resampling.
        draws: resamples.
    """
    units = values.reshape(len(values), -1) if len(values) >= FEWEST_LOADS else values.reshape(-1, 1)
    picks = np.random.default_rng(seed).integers(0, len(units), (draws, len(units)))
    medians = np.median(units[picks].reshape(draws, -1), axis=1)
    tail = 100 * _expanded_tail(len(units))
    low, high = np.percentile(medians, [tail, 100 - tail])
    median = float(np.median(values))
    return Estimate(median, min(float(low), median), max(float(high), median))


def _expanded_tail(units: int) -> float:
    """The tail of a normal that is as wide as 2.5 % of Student's t, for the spread of `units` values."""
    normal, freedom = NormalDist(), max(units - 1, 1)
    z = normal.inv_cdf(0.975)
    # Student's t by Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5).
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return normal.cdf(-t * math.sqrt((freedom + 1) / freedom))


def summary(times_ms: Times, reference_ms: Times, interrupted: float, half_width: float) -> Timing:
    """A network's timing, its rounds paired with the reference network's.

    Args:
        times_ms: (loads, rounds of each), milliseconds a pass.
        reference_ms: the same of the reference network.
        interrupted: share of its blocks into which other processes broke.
        half_width: how narrow the ratio's interval has to be to have settled, relative.
    """
    p90, p99 = np.percentile(times_ms, [90, 99])
    ratio = estimate(times_ms / reference_ms)
    settled = ratio.half_width <= half_width
    return Timing(estimate(times_ms), float(p90), float(p99), ratio, times_ms.size, interrupted, settled)


def disagrees(twin: Timing) -> bool:
    """Whether the reference network against itself says that the machine was too noisy.

    Its interval must have settled, and hold 1. One in twenty does not by chance, however quiet the machine: an offset
    that matters to nobody, up to `AA_TOLERANCE`, is therefore let pass.
    """
    holds_one = twin.ratio.low <= 1 <= twin.ratio.high
    return not twin.settled or not (holds_one or abs(twin.ratio.value - 1) <= AA_TOLERANCE)


def disturbed(timing: Timing) -> bool:
    """Whether others held its core too often for the median to be its own, as happens to slow networks first."""
    return timing.interrupted > MOST_INTERRUPTED
