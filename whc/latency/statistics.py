"""Statistics of many short blocks: medians, their intervals, and whether the machine was too noisy to trust them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
BOOTSTRAP_RESAMPLES = 1000
MIN_LOADS = 5
AA_TOLERANCE = 0.02
MAX_INTERRUPTED_SHARE = 1 / 3


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

    `rounds` is the number of its blocks; `interrupted` is the share of blocks that other processes interrupted;
    `settled` is False when the rounds ended before the ratio's interval was narrow enough.
    """

    p50_ms: Estimate
    p90_ms: float
    p99_ms: float
    ratio: Estimate
    rounds: int
    interrupted: float
    settled: bool


def estimate(values: Times, seed: int = 0, resamples: int = BOOTSTRAP_RESAMPLES) -> Estimate:
    """Median over all rounds, with its 95 % bootstrap interval.

    Whole loads (rows) are resampled: a network's place in memory changes its time by half a per cent, and that place
    changes from load to load, not from round to round. With fewer than `MIN_LOADS` rows, rounds are resampled instead.
    The percentiles are those of the expanded interval, which corrects for few rows (Hesterberg 2015, "What Teachers
    Should Know About the Bootstrap", section 5.3).

    Args:
        values: (loads, rounds of each load), or (rounds,).
        seed: of the resampling.
        resamples: number of resamples.
    """
    units = values.reshape(len(values), -1) if len(values) >= MIN_LOADS else values.reshape(-1, 1)
    picks = np.random.default_rng(seed).integers(0, len(units), (resamples, len(units)))
    medians = np.median(units[picks].reshape(resamples, -1), axis=1)
    tail = 100 * _expanded_tail(len(units))
    low, high = np.percentile(medians, [tail, 100 - tail])
    median = float(np.median(values))
    return Estimate(median, min(float(low), median), max(float(high), median))


def _expanded_tail(units: int) -> float:
    """The normal distribution's tail that stands for 2.5 % of Student's t, for the spread of `units` values."""
    normal, freedom = NormalDist(), max(units - 1, 1)
    z = normal.inv_cdf(0.975)
    # Student's t by Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5).
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return normal.cdf(-t * math.sqrt((freedom + 1) / freedom))


def summary(times_ms: Times, reference_ms: Times, interrupted: float, half_width: float) -> Timing:
    """A network's timing, its rounds paired with the reference network's.

    Args:
        times_ms: (loads, rounds of each), milliseconds a pass.
        reference_ms: the same for the reference network.
        interrupted: share of the network's blocks that other processes interrupted.
        half_width: relative half width of the ratio's interval at which it counts as settled.
    """
    p90, p99 = np.percentile(times_ms, [90, 99])
    ratio = estimate(times_ms / reference_ms)
    settled = ratio.half_width <= half_width
    return Timing(estimate(times_ms), float(p90), float(p99), ratio, times_ms.size, interrupted, settled)


def twin_disagrees(twin: Timing) -> bool:
    """Whether the reference network timed against itself shows that the machine was too noisy.

    Its interval must have settled, and contain 1. By chance one interval in twenty does not contain 1, however quiet
    the machine is; so an offset of at most `AA_TOLERANCE`, which has no practical effect, is accepted.
    """
    holds_one = twin.ratio.low <= 1 <= twin.ratio.high
    return not twin.settled or not (holds_one or abs(twin.ratio.value - 1) <= AA_TOLERANCE)


def is_disturbed(timing: Timing) -> bool:
    """Whether other processes held its core so often that the median includes them; slow networks suffer first."""
    return timing.interrupted > MAX_INTERRUPTED_SHARE
