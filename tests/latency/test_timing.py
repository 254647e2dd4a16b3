"""The timing protocol under a clock of our own: no test here looks at real time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from whc.latency import timing
from whc.latency.cores import Usage
from whc.latency.timing import (
    REFERENCE_NAME,
    ROUNDS_PER_LOAD,
    ForwardPass,
    NetworkLoader,
    Protocol,
    measure,
    time_networks,
)

QUICK = Protocol(block_ms=2, warmup_ms=5, min_rounds=30, max_rounds=100, max_s=1e6)


class Clock:
    """Time passes only while a network runs, and not evenly: `load` slows down all of them alike."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.passes: dict[str, int] = {}
        self.loads: list[str] = []
        self.order: list[str] = []
        self.load: Callable[[float], float] = lambda now: 1.0
        self.usage = Usage(0, 0)

    def perf_counter(self) -> float:
        return self.now

    def run(self, name: str, milliseconds: Callable[[], float]) -> NetworkLoader:
        def one_pass() -> None:
            self.now += milliseconds() / 1000 * self.load(self.now)
            self.passes[name] = self.passes.get(name, 0) + 1
            if not self.order or self.order[-1] != name:
                self.order.append(name)

        def load() -> ForwardPass:
            self.loads.append(name)
            return one_pass

        return load

    def steady(self, name: str, milliseconds: float) -> NetworkLoader:
        return self.run(name, lambda: milliseconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", clock.perf_counter)
    monkeypatch.setattr(timing, "thread_usage", lambda: clock.usage)
    return clock


def test_steady_networks(clock: Clock) -> None:
    result = measure(
        {"a": clock.steady("a", 0.1), "b": clock.steady("b", 0.3)}, clock.steady(REFERENCE_NAME, 0.2), QUICK
    )
    assert list(result) == ["a", "b", REFERENCE_NAME]
    for name, milliseconds in (("a", 0.1), ("b", 0.3), (REFERENCE_NAME, 0.2)):
        expected = pytest.approx(milliseconds)
        assert (result[name].p50_ms.value, result[name].p90_ms, result[name].p99_ms) == (expected, expected, expected)
        assert (result[name].p50_ms.low, result[name].p50_ms.high) == (expected, expected)
        assert result[name].ratio.value == pytest.approx(milliseconds / 0.2)
        assert result[name].settled
        assert result[name].interrupted == 0
        assert result[name].rounds == 30


def test_the_ratio_survives_a_common_disturbance(clock: Clock) -> None:
    """Half of the time everything takes three times as long, in bursts much longer than a round."""
    clock.load = lambda now: 3.0 if int(now * 1000) % 200 < 100 else 1.0
    result = measure({"a": clock.steady("a", 0.15)}, clock.steady(REFERENCE_NAME, 0.1), QUICK)
    assert result["a"].ratio.value == pytest.approx(1.5, rel=0.02)
    assert result["a"].p99_ms > 2 * result["a"].p50_ms.value or result["a"].p50_ms.value > 0.3


def test_a_slow_drift_cancels(clock: Clock) -> None:
    clock.load = lambda now: 1 + (now - 1000) * 5
    result = measure({"a": clock.steady("a", 0.4)}, clock.steady(REFERENCE_NAME, 0.1), QUICK)
    assert result["a"].ratio.value == pytest.approx(4, rel=0.05)


def noisy(clock: Clock, name: str, milliseconds: float, spread: float) -> NetworkLoader:
    rng = np.random.default_rng(3)
    return clock.run(name, lambda: milliseconds * float(np.exp(rng.normal(0, spread))))


def test_rounds_go_on_until_the_ratio_has_settled(clock: Clock) -> None:
    protocol = Protocol(block_ms=0.1, warmup_ms=0, min_rounds=10, max_rounds=5000, half_width=0.05, max_s=1e6)
    result = measure({"a": noisy(clock, "a", 0.1, 0.6)}, clock.steady(REFERENCE_NAME, 0.1), protocol)["a"]
    assert 10 < result.rounds < 5000
    assert result.ratio.half_width <= 0.06
    narrow = protocol.model_copy(update={"half_width": 0.02})
    assert (
        measure({"a": noisy(clock, "a", 0.1, 0.6)}, clock.steady(REFERENCE_NAME, 0.1), narrow)["a"].rounds
        > result.rounds
    )


@pytest.mark.parametrize(("most", "taken"), [(5, 5), (10, 10), (25, 20), (40, 40)])
def test_the_cap_is_kept(clock: Clock, most: int, taken: int) -> None:
    protocol = Protocol(block_ms=0.1, warmup_ms=0, min_rounds=10, max_rounds=most, half_width=0.001)
    result = measure({"a": noisy(clock, "a", 0.1, 1.0)}, clock.steady(REFERENCE_NAME, 0.1), protocol)
    assert result["a"].rounds == result[REFERENCE_NAME].rounds == taken
    assert not result["a"].settled


@pytest.mark.parametrize(("most_s", "taken"), [(0.001, 5), (8.5, 8), (25, 20), (1000, 30)])
def test_time_is_kept_too(clock: Clock, most_s: float, taken: int) -> None:
    """Two passes of 0.25 s for each of two networks make a round of a second; half a load counts for nothing."""
    protocol = QUICK.model_copy(update={"warmup_ms": 0.0, "max_s": most_s})
    result = measure({"a": clock.steady("a", 250)}, clock.steady(REFERENCE_NAME, 250), protocol)
    assert result["a"].rounds == taken


def test_all_must_settle(clock: Clock) -> None:
    runs = {"steady": clock.steady("steady", 0.1), "noisy": noisy(clock, "noisy", 0.1, 1.0)}
    protocol = Protocol(block_ms=0.1, warmup_ms=0, min_rounds=10, max_rounds=40, half_width=0.001)
    assert {t.rounds for t in measure(runs, clock.steady(REFERENCE_NAME, 0.1), protocol).values()} == {40}


def test_blocks_last_about_as_long_as_asked(clock: Clock) -> None:
    protocol = Protocol(block_ms=2, warmup_ms=0, min_rounds=5, max_rounds=10, max_s=1e6)
    measure({"quick": clock.steady("quick", 0.1), "slow": clock.steady("slow", 50)}, clock.steady("r", 1), protocol)
    warming, ahead = 2, 1
    assert clock.passes == {
        "quick": warming + 10 * (ahead + 20),
        "slow": warming + 10 * (ahead + 1),
        "r": warming + 10 * (ahead + 2),
    }


def test_warm_up_ends_when_blocks_agree_and_is_not_counted(clock: Clock) -> None:
    cooling = iter([100.0] * 4 + [10.0] * 4 + [1.0] * 4)
    protocol = Protocol(block_ms=0.1, warmup_ms=1000, min_rounds=5, max_rounds=10)
    loads = {"a": clock.run("a", lambda: next(cooling, 0.1))}
    result = measure(loads, clock.steady(REFERENCE_NAME, 0.1), protocol)
    assert result["a"].p99_ms == pytest.approx(0.1)


def test_warm_up_of_what_never_steadies_ends_in_time(clock: Clock) -> None:
    protocol = Protocol(block_ms=0.1, warmup_ms=50, min_rounds=5, max_rounds=5, max_s=1e6)
    started = clock.now
    measure({"a": noisy(clock, "a", 1, 1.0)}, clock.steady(REFERENCE_NAME, 0.1), protocol)
    assert 0.05 < clock.now - started < 0.1


def test_every_round_times_every_network(clock: Clock) -> None:
    names = ("a", "b", "c", REFERENCE_NAME)
    protocol = Protocol(block_ms=1, warmup_ms=0, min_rounds=10, max_rounds=10)
    series = time_networks({name: clock.steady(name, 1) for name in names}, protocol)
    assert {name: times.shape for name, times in series.times_ms.items()} == dict.fromkeys(names, (1, 10))
    assert clock.passes == dict.fromkeys(names, 2 + 10 * 2)


def test_every_load_is_a_fresh_one_in_another_order(clock: Clock) -> None:
    names = [*"abcdef", REFERENCE_NAME]
    series = time_networks({name: clock.steady(name, 1) for name in names}, QUICK, seed=0)
    assert series.times_ms["a"].shape == (3, ROUNDS_PER_LOAD)
    loads = [clock.loads[start : start + len(names)] for start in range(0, len(clock.loads), len(names))]
    assert len(loads) == 3
    assert all(sorted(load) == sorted(names) for load in loads)
    assert loads[0] != loads[1] != loads[2]


def test_what_is_at_work_is_announced_before() -> None:
    """A watcher must know whom to blame at any moment."""
    announced: list[str] = []

    def network(name: str) -> NetworkLoader:
        def load() -> ForwardPass:
            assert announced[-1] == name
            return lambda: worked.append(announced[-1] == name)

        return load

    worked: list[bool] = []
    protocol = Protocol(block_ms=0.01, min_rounds=10, max_rounds=10)
    time_networks({name: network(name) for name in ("a", "b", REFERENCE_NAME)}, protocol, announce=announced.append)
    assert len(worked) > 3 * 10
    assert all(worked)


def test_the_seed_decides_the_order(clock: Clock) -> None:
    orders = []
    for seed in (1, 1, 2):
        clock.order.clear()
        measure({"a": clock.steady("a", 1), "b": clock.steady("b", 1)}, clock.steady("r", 1), QUICK, seed)
        orders.append(clock.order.copy())
    assert orders[0] == orders[1] != orders[2]


def test_noise_makes_intervals_wider(clock: Clock) -> None:
    runs = {str(spread): noisy(clock, str(spread), 0.1, spread) for spread in (0.01, 0.1, 0.5)}
    result = measure(runs, clock.steady(REFERENCE_NAME, 0.1), QUICK)
    widths = [result[name].ratio.half_width for name in runs]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_the_reference_is_one(clock: Clock) -> None:
    ratio = measure({}, noisy(clock, REFERENCE_NAME, 0.1, 0.3), QUICK)[REFERENCE_NAME].ratio
    assert (ratio.value, ratio.low, ratio.high) == (1, 1, 1)


def test_two_networks_are_compared_round_by_round(clock: Clock) -> None:
    loads = {
        "a": clock.steady("a", 0.2),
        "b": clock.steady("b", 0.3),
        REFERENCE_NAME: clock.steady(REFERENCE_NAME, 0.1),
    }
    clock.load = lambda now: 1 + (now - 1000) * 2
    series = time_networks(loads, QUICK)
    assert series.ratio("b", "a").value == pytest.approx(1.5, rel=0.02)
    assert series.ratio("a", "a").value == 1


def test_interrupted_blocks_are_counted(clock: Clock) -> None:
    """`slow` alone runs so long that another process gets its core."""

    def slow_pass() -> float:
        clock.usage = Usage(clock.usage.processor_s + 0.001, clock.usage.switches + 1)
        return 50.0

    loads = {"slow": clock.run("slow", slow_pass), "quick": clock.steady("quick", 0.1)}
    result = measure(loads, clock.steady(REFERENCE_NAME, 0.1), QUICK)
    assert result["slow"].interrupted == 1
    assert result["quick"].interrupted == result[REFERENCE_NAME].interrupted == 0


@pytest.mark.parametrize("values", [{"block_ms": 0}, {"min_rounds": 1}, {"half_width": 0}, {"half_width": 1}, {"x": 1}])
def test_protocols_that_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Protocol"):
        Protocol.model_validate(values)
