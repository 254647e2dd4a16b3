"""The timing protocol: many short blocks, all networks interleaved in random order, a reference in every round.

A burst of other work on the machine then slows all networks alike, and the ratio to the reference cancels it. Every
few rounds all networks are loaded again, because a network's place in memory decides its speed until the next load.
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

ForwardPass = Callable[[], object]
NetworkLoader = Callable[[], ForwardPass]
REFERENCE_NAME = "reference"
ROUNDS_PER_LOAD = 10
MIN_ROUNDS = 5
CALL_VERSION = 2  # of how a runtime is called, on which latencies depend; 2: ONNX Runtime's buffers are bound
MAX_WARM_SPREAD = 0.05


class Protocol(Settings):
    """How long to measure.

    Rounds go on until the 95 % interval of every median ratio is within `half_width` of it (relative), at least
    `min_rounds` and at most `max_rounds` or `max_s` seconds. A block repeats one network for about `block_ms`. That is
    shorter than the time for which the system runs another process, so that most blocks are not interrupted even on a
    busy machine. Warming up a network ends when three blocks in a row agree, or after `warmup_ms`. A block that takes
    longer than `timeout_s` counts as a hang. So does a first load longer than `load_timeout_s`: some runtimes compile
    then.
    """

    block_ms: float = Field(0.5, gt=0)
    warmup_ms: float = Field(200.0, ge=0)
    min_rounds: int = Field(100, ge=MIN_ROUNDS)
    max_rounds: int = Field(600, ge=MIN_ROUNDS)
    max_s: float = Field(60.0, gt=0)
    half_width: float = Field(0.03, gt=0, lt=1)
    timeout_s: float = Field(60.0, gt=0)
    load_timeout_s: float = Field(300.0, gt=0)


@dataclass(frozen=True)
class Series:
    """All blocks of a session.

    `times_ms` are milliseconds a pass, (loads, rounds of each load) for each name; `interrupted` is the share of a
    name's blocks that other processes interrupted. `ram_bytes` is the memory that a name's file takes (as
    `whc.latency.watch.ram_bytes`), where it was asked for.
    """

    times_ms: dict[str, Times]
    interrupted: dict[str, float]
    ram_bytes: dict[str, int] = field(default_factory=dict)

    def ratio(self, name: str, to: str) -> Estimate:
        """Median over rounds of one network's time over another's in the same round."""
        return estimate(self.times_ms[name] / self.times_ms[to])

    def timings(self, half_width: float) -> dict[str, Timing]:
        """A timing for each name, `REFERENCE_NAME` among them."""
        reference = self.times_ms[REFERENCE_NAME]
        return {
            name: summary(times, reference, self.interrupted[name], half_width) for name, times in self.times_ms.items()
        }


@dataclass
class _Blocks:
    """Blocks so far: for each load and each name, a list of (milliseconds a pass, interrupted)."""

    names: list[str]
    loads: list[dict[str, list[tuple[float, bool]]]] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        return sum(len(load[REFERENCE_NAME]) for load in self.loads)

    def series(self) -> Series:
        """All blocks in rows of equal length: a load that the deadline cut short counts only if there is no other."""
        length = max(len(load[REFERENCE_NAME]) for load in self.loads)
        whole = [load for load in self.loads if len(load[REFERENCE_NAME]) == length]
        blocks = {name: np.array([load[name] for load in whole]) for name in self.names}
        return Series(
            {name: block[..., 0] for name, block in blocks.items()},
            {name: float(block[..., 1].mean()) for name, block in blocks.items()},
        )

    def settled(self, half_width: float) -> bool:
        series = self.series()
        reference = series.times_ms.pop(REFERENCE_NAME)
        ratios = (times / reference for times in series.times_ms.values())
        return all(estimate(ratio, resamples=200).half_width <= half_width for ratio in ratios)


def time_networks(
    loads: Mapping[str, NetworkLoader],
    protocol: Protocol,
    seed: int | None = None,
    announce: Callable[[str], None] = lambda name: None,
) -> Series:
    """Time networks against each other.

    Args:
        loads: name -> function that loads the network and returns its forward pass; the reference network is under
            `REFERENCE_NAME`.
        protocol: how long.
        seed: of the random order in which networks are loaded and run; by default different each time.
        announce: called with the network's name before each load and each block.
    """
    rng = np.random.default_rng(seed)
    deadline = time.perf_counter() + protocol.max_s
    blocks = _Blocks(list(loads))
    rounds = min(ROUNDS_PER_LOAD, protocol.max_rounds)
    while True:
        blocks.loads.append(_load_and_time(loads, protocol, rounds, deadline, rng, announce))
        enough = blocks.rounds >= protocol.min_rounds and blocks.settled(protocol.half_width)
        spent = blocks.rounds + rounds > protocol.max_rounds or time.perf_counter() > deadline
        if enough or spent:
            return blocks.series()


def measure(
    loads: Mapping[str, NetworkLoader], reference: NetworkLoader, protocol: Protocol, seed: int | None = None
) -> dict[str, Timing]:
    """Time networks in this process; `bench` does so in a child process, which may crash or hang.

    Returns:
        A timing for each name, and one for the reference under `REFERENCE_NAME` (its ratio is 1).
    """
    return time_networks({**loads, REFERENCE_NAME: reference}, protocol, seed).timings(protocol.half_width)


def _load_and_time(
    loads: Mapping[str, NetworkLoader],
    protocol: Protocol,
    rounds: int,
    deadline: float,
    rng: np.random.Generator,
    announce: Callable[[str], None],
) -> dict[str, list[tuple[float, bool]]]:
    """Load all networks in random order, warm them up, and time some rounds."""
    names = [str(name) for name in rng.permutation(list(loads))]
    runs: dict[str, ForwardPass] = {}
    repeats: dict[str, int] = {}
    for name in names:
        announce(name)
        runs[name] = loads[name]()
    for name in names:
        repeats[name] = _warm_up(runs[name], protocol, partial(announce, name))
    blocks: dict[str, list[tuple[float, bool]]] = {name: [] for name in loads}
    for round_number in range(rounds):
        if round_number >= MIN_ROUNDS and time.perf_counter() > deadline:
            break
        rng.shuffle(names)
        for name in names:
            announce(name)
            blocks[name].append(_time_block(runs[name], repeats[name]))
    return blocks


def _warm_up(run: ForwardPass, protocol: Protocol, announce: Callable[[], None]) -> int:
    """Run until three blocks in a row agree, or time is up; returns the number of passes in a block."""
    deadline = time.perf_counter() + protocol.warmup_ms / 1000
    repeats, latest = 1, list[float]()
    while True:
        announce()
        latest = [*latest[-2:], _time_block(run, repeats)[0]]
        repeats = max(1, round(protocol.block_ms / latest[-1]))
        agree = len(latest) == 3 and max(latest) <= (1 + MAX_WARM_SPREAD) * min(latest)
        if agree or time.perf_counter() >= deadline:
            return repeats


def _time_block(run: ForwardPass, repeats: int) -> tuple[float, bool]:
    """Milliseconds a pass, and whether another process held the core for a part of that time.

    One pass before the block fills the caches with this network again, as other networks have run since.
    """
    run()
    before = thread_usage()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    elapsed_s = time.perf_counter() - start
    return elapsed_s * 1000 / repeats, before.interrupted(thread_usage(), elapsed_s)
