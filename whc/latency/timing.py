"""The timing protocol: many short blocks, all networks interleaved in random order, a reference in every round.

A burst of other work on the machine then touches all networks alike, and the ratio to the reference cancels it. Every
few rounds all networks are loaded anew, because a network keeps the speed of the place in memory that it was given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from pydantic import Field

from whc.config import Settings
from whc.latency.cores import thread_usage
from whc.latency.statistics import Estimate, Times, Timing, estimate, summary

Run = Callable[[], object]
Load = Callable[[], Run]
REFERENCE = "reference"
ROUNDS_A_LOAD = 10
FEWEST_ROUNDS = 5
STEADY = 0.05


class Protocol(Settings):
    """How long to measure.

    Rounds go on until the 95 % interval of every median ratio is within `half_width` of it (relative), at least
    `min_rounds` and at most `max_rounds` or `max_s` seconds. A block repeats one network for about `block_ms`: shorter
    than the time for which a system lets another process in, so that most blocks stay whole on a busy machine too.
    Warming up a network ends when three blocks in a row agree, after `warmup_ms` in any case. A block that takes longer
    than `timeout_s` is taken for a hang, as is a file's first load after `load_timeout_s`: some runtimes compile then.
    """

    block_ms: float = Field(0.5, gt=0)
    warmup_ms: float = Field(200.0, ge=0)
    min_rounds: int = Field(100, ge=FEWEST_ROUNDS)
    max_rounds: int = Field(600, ge=FEWEST_ROUNDS)
    max_s: float = Field(60.0, gt=0)
    half_width: float = Field(0.03, gt=0, lt=1)
    timeout_s: float = Field(60.0, gt=0)
    load_timeout_s: float = Field(300.0, gt=0)


@dataclass(frozen=True)
class Series:
    """All blocks of a session.

    `times_ms` are milliseconds a pass, (loads, rounds of each load) for each name; `interrupted` is the share of a
    name's blocks into which other processes broke.
    """

    times_ms: dict[str, Times]
    interrupted: dict[str, float]

    def ratio(self, name: str, to: str) -> Estimate:
        """Median over rounds of one network's time over another's in the same round."""
        return estimate(self.times_ms[name] / self.times_ms[to])

    def timings(self, half_width: float) -> dict[str, Timing]:
        """A timing for each name, `REFERENCE` among them."""
        reference = self.times_ms[REFERENCE]
        return {
            name: summary(times, reference, self.interrupted[name], half_width) for name, times in self.times_ms.items()
        }


@dataclass
class _Blocks:
    """Blocks as they are taken: for each name a row for each load, of (milliseconds a pass, interrupted)."""

    names: list[str]
    loads: list[dict[str, list[tuple[float, bool]]]] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        return sum(len(load[REFERENCE]) for load in self.loads)

    def series(self) -> Series:
        """Rows are equally long: a load that time cut short counts only when there is no other."""
        length = max(len(load[REFERENCE]) for load in self.loads)
        whole = [load for load in self.loads if len(load[REFERENCE]) == length]
        blocks = {name: np.array([load[name] for load in whole]) for name in self.names}
        return Series(
            {name: block[..., 0] for name, block in blocks.items()},
            {name: float(block[..., 1].mean()) for name, block in blocks.items()},
        )

    def settled(self, half_width: float) -> bool:
        series = self.series()
        reference = series.times_ms.pop(REFERENCE)
        ratios = (times / reference for times in series.times_ms.values())
        return all(estimate(ratio, draws=200).half_width <= half_width for ratio in ratios)


def take(
    loads: Mapping[str, Load],
    protocol: Protocol,
    seed: int | None = None,
    announce: Callable[[str], None] = lambda name: None,
) -> Series:
    """Time networks against each other.

    Args:
        loads: name -> loads the network and gives one forward pass; the reference network under `REFERENCE`.
        protocol: how long.
        seed: of the order in which networks are loaded, and run within each round; by default another every time.
        announce: told which network is loaded or run next, before each load and each block.
    """
    rng = np.random.default_rng(seed)
    deadline = time.perf_counter() + protocol.max_s
    blocks = _Blocks(list(loads))
    rounds = min(ROUNDS_A_LOAD, protocol.max_rounds)
    while True:
        blocks.loads.append(_one_load(loads, protocol, rounds, deadline, rng, announce))
        enough = blocks.rounds >= protocol.min_rounds and blocks.settled(protocol.half_width)
        spent = blocks.rounds + rounds > protocol.max_rounds or time.perf_counter() > deadline
        if enough or spent:
            return blocks.series()


def measure(
    loads: Mapping[str, Load], reference: Load, protocol: Protocol, seed: int | None = None
) -> dict[str, Timing]:
    """Time networks in this process; `bench` does so in a child, which may crash or hang.

    Returns:
        A timing for each name, and one for the reference under `REFERENCE` (its ratio is 1).
    """
    return take({**loads, REFERENCE: reference}, protocol, seed).timings(protocol.half_width)


def _one_load(
    loads: Mapping[str, Load],
    protocol: Protocol,
    rounds: int,
    deadline: float,
    rng: np.random.Generator,
    announce: Callable[[str], None],
) -> dict[str, list[tuple[float, bool]]]:
    """Load all networks, in random order too, warm them up, and take some rounds."""
    names = [str(name) for name in rng.permutation(list(loads))]
    runs: dict[str, Run] = {}
    repeats: dict[str, int] = {}
    for name in names:
        announce(name)
        runs[name] = loads[name]()
    for name in names:
        repeats[name] = _warm_up(runs[name], protocol, partial(announce, name))
    blocks: dict[str, list[tuple[float, bool]]] = {name: [] for name in loads}
    for done in range(rounds):
        if done >= FEWEST_ROUNDS and time.perf_counter() > deadline:
            break
        rng.shuffle(names)
        for name in names:
            announce(name)
            blocks[name].append(_block(runs[name], repeats[name]))
    return blocks


def _warm_up(run: Run, protocol: Protocol, announce: Callable[[], None]) -> int:
    """Run until three blocks in a row agree, or time is up; returns how many passes make a block."""
    deadline = time.perf_counter() + protocol.warmup_ms / 1000
    repeats, latest = 1, list[float]()
    while True:
        announce()
        latest = [*latest[-2:], _block(run, repeats)[0]]
        repeats = max(1, round(protocol.block_ms / latest[-1]))
        agree = len(latest) == 3 and max(latest) <= (1 + STEADY) * min(latest)
        if agree or time.perf_counter() >= deadline:
            return repeats


def _block(run: Run, repeats: int) -> tuple[float, bool]:
    """Milliseconds a pass, and whether another process had the core for a part of that time.

    One pass ahead of them brings the network back into the caches that the others have used since.
    """
    run()
    before = thread_usage()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    elapsed_s = time.perf_counter() - start
    return elapsed_s * 1000 / repeats, before.interrupted(thread_usage(), elapsed_s)
