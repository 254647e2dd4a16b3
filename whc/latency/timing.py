"""The timing protocol: many short blocks, all networks interleaved in random order, a reference in every round.

A burst of other work on the machine then touches all networks alike, and the ratio to the reference cancels it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc.config import Settings

Run = Callable[[], object]
REFERENCE = "reference"


class Protocol(Settings):
    """How long to measure.

    Rounds go on until the 95 % interval of every median ratio is within `half_width` of it (relative), at least
    `min_rounds` and at most `max_rounds`. A block repeats one network until about `block_ms` have passed.
    """

    block_ms: float = Field(2.0, gt=0)
    warmup_ms: float = Field(50.0, ge=0)
    min_rounds: int = Field(30, ge=5)
    max_rounds: int = Field(300, ge=5)
    half_width: float = Field(0.03, gt=0, lt=1)


@dataclass(frozen=True)
class Timing:
    """Times of one network, in milliseconds a forward pass.

    `ratio` is the median over rounds of its time over the reference's, `ratio_low`..`ratio_high` its 95 % interval;
    `settled` is False when the rounds ran out before the interval was narrow enough.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: int
    settled: bool


def interval(values: NDArray[np.float64], rng: np.random.Generator, draws: int = 400) -> tuple[float, float]:
    """95 % percentile-bootstrap interval of the median (Efron and Tibshirani 1993, chapter 13)."""
    resampled = np.median(values[rng.integers(0, len(values), (draws, len(values)))], axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def measure(runs: Mapping[str, Run], reference: Run, protocol: Protocol, seed: int = 0) -> dict[str, Timing]:
    """Time networks against each other.

    Args:
        runs: name -> one forward pass, ready to call.
        reference: one forward pass of the reference network.
        protocol: how long.
        seed: order of the networks within the rounds.

    Returns:
        A timing for each name, and one for the reference under `REFERENCE` (its ratio is 1).
    """
    rng = np.random.default_rng(seed)
    everything = {**runs, REFERENCE: reference}
    repeats = {name: _warm_up(run, protocol) for name, run in everything.items()}
    rounds: list[dict[str, float]] = []
    names = list(everything)
    settled = False
    while len(rounds) < protocol.max_rounds and not settled:
        rng.shuffle(names)
        rounds.append({name: _block(everything[name], repeats[name]) for name in names})
        if len(rounds) >= protocol.min_rounds and (len(rounds) % 10 == 0 or len(rounds) == protocol.max_rounds):
            settled = all(_settled(rounds, name, protocol, rng) for name in runs)
    return {name: _summary(rounds, name, settled, rng) for name in everything}


def _warm_up(run: Run, protocol: Protocol) -> int:
    """Run until warm; returns how many passes make a block."""
    start = time.perf_counter()
    passes = 0
    while passes < 3 or (time.perf_counter() - start) * 1000 < protocol.warmup_ms:
        run()
        passes += 1
    pass_ms = _block(run, 5)
    return max(1, round(protocol.block_ms / pass_ms))


def _block(run: Run, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) * 1000 / repeats


def _ratios(rounds: list[dict[str, float]], name: str) -> NDArray[np.float64]:
    return np.array([times[name] / times[REFERENCE] for times in rounds])


def _settled(rounds: list[dict[str, float]], name: str, protocol: Protocol, rng: np.random.Generator) -> bool:
    ratios = _ratios(rounds, name)
    low, high = interval(ratios, rng)
    return (high - low) / 2 <= protocol.half_width * float(np.median(ratios))


def _summary(rounds: list[dict[str, float]], name: str, settled: bool, rng: np.random.Generator) -> Timing:
    times = np.array([passes[name] for passes in rounds])
    ratios = _ratios(rounds, name)
    low, high = interval(ratios, rng)
    p50, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
    return Timing(p50, p90, p99, float(np.median(ratios)), low, high, len(rounds), settled)
