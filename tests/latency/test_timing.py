"""The timing protocol under a clock of our own: no test here looks at real time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from whc.latency import timing
from whc.latency.timing import REFERENCE, Protocol, Run, Timing, interval, measure

QUICK = Protocol(block_ms=2, warmup_ms=5, min_rounds=30, max_rounds=100)


class Clock:
    """Time passes only while a network runs, and not evenly: `load` slows down all of them alike."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.passes: dict[str, int] = {}
        self.order: list[str] = []
        self.load: Callable[[float], float] = lambda now: 1.0

    def perf_counter(self) -> float:
        return self.now

    def run(self, name: str, milliseconds: Callable[[], float]) -> Run:
        def one_pass() -> None:
            self.now += milliseconds() / 1000 * self.load(self.now)
            self.passes[name] = self.passes.get(name, 0) + 1
            if not self.order or self.order[-1] != name:
                self.order.append(name)

        return one_pass

    def steady(self, name: str, milliseconds: float) -> Run:
        return self.run(name, lambda: milliseconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", clock.perf_counter)
    return clock


def test_steady_networks(clock: Clock) -> None:
    found = measure({"a": clock.steady("a", 0.1), "b": clock.steady("b", 0.3)}, clock.steady(REFERENCE, 0.2), QUICK)
    assert list(found) == ["a", "b", REFERENCE]
    for name, milliseconds in (("a", 0.1), ("b", 0.3), (REFERENCE, 0.2)):
        expected = pytest.approx(milliseconds)
        assert (found[name].p50_ms, found[name].p90_ms, found[name].p99_ms) == (expected, expected, expected)
        assert found[name].ratio == pytest.approx(milliseconds / 0.2)
        assert found[name].settled
        assert found[name].rounds == 30


def test_the_ratio_survives_a_common_disturbance(clock: Clock) -> None:
    """Half of the time everything takes three times as long, in bursts much longer than a round."""
    clock.load = lambda now: 3.0 if int(now * 1000) % 200 < 100 else 1.0
    found = measure({"a": clock.steady("a", 0.15)}, clock.steady(REFERENCE, 0.1), QUICK)
    assert found["a"].ratio == pytest.approx(1.5, rel=0.02)
    assert found["a"].p99_ms > 2 * found["a"].p50_ms or found["a"].p50_ms > 0.3


def test_a_slow_drift_cancels(clock: Clock) -> None:
    clock.load = lambda now: 1 + (now - 1000) * 5
    found = measure({"a": clock.steady("a", 0.4)}, clock.steady(REFERENCE, 0.1), QUICK)
    assert found["a"].ratio == pytest.approx(4, rel=0.05)


def noisy(clock: Clock, name: str, milliseconds: float, spread: float) -> Run:
    rng = np.random.default_rng(3)
    return clock.run(name, lambda: milliseconds * float(np.exp(rng.normal(0, spread))))


def test_rounds_go_on_until_the_ratio_has_settled(clock: Clock) -> None:
    protocol = Protocol(block_ms=0.1, warmup_ms=0, min_rounds=10, max_rounds=2000, half_width=0.05)
    found = measure({"a": noisy(clock, "a", 0.1, 0.6)}, clock.steady(REFERENCE, 0.1), protocol)["a"]
    assert found.settled
    assert 10 < found.rounds < 2000
    assert (found.ratio_high - found.ratio_low) / 2 <= 0.06 * found.ratio
    narrow = protocol.model_copy(update={"half_width": 0.02})
    assert measure({"a": noisy(clock, "a", 0.1, 0.6)}, clock.steady(REFERENCE, 0.1), narrow)["a"].rounds > found.rounds


def test_the_cap_is_kept(clock: Clock) -> None:
    protocol = Protocol(block_ms=0.1, warmup_ms=0, min_rounds=10, max_rounds=25, half_width=0.001)
    found = measure({"a": noisy(clock, "a", 0.1, 1.0)}, clock.steady(REFERENCE, 0.1), protocol)
    assert found["a"].rounds == found[REFERENCE].rounds == 25
    assert not found["a"].settled


def test_all_must_settle(clock: Clock) -> None:
    runs = {"steady": clock.steady("steady", 0.1), "noisy": noisy(clock, "noisy", 0.1, 1.0)}
    protocol = Protocol(block_ms=0.1, warmup_ms=0, min_rounds=10, max_rounds=40, half_width=0.001)
    assert {t.rounds for t in measure(runs, clock.steady(REFERENCE, 0.1), protocol).values()} == {40}


def test_blocks_last_about_as_long_as_asked(clock: Clock) -> None:
    protocol = Protocol(block_ms=2, warmup_ms=0, min_rounds=5, max_rounds=10)
    measure({"quick": clock.steady("quick", 0.1), "slow": clock.steady("slow", 50)}, clock.steady("r", 1), protocol)
    warming = 3 + 5
    assert clock.passes == {"quick": warming + 10 * 20, "slow": warming + 10, "r": warming + 10 * 2}


def test_warm_up_lasts_as_long_as_asked_and_is_not_counted(clock: Clock) -> None:
    def cold() -> float:
        return 10.0 if clock.passes.get("a", 0) < 4 else 0.1

    protocol = Protocol(block_ms=1, warmup_ms=45, min_rounds=5, max_rounds=10)
    found = measure({"a": clock.run("a", cold)}, clock.steady(REFERENCE, 0.1), protocol)
    assert found["a"].p99_ms == pytest.approx(0.1)


def test_every_round_times_every_network(clock: Clock) -> None:
    names = ("a", "b", "c", REFERENCE)
    protocol = Protocol(block_ms=1, warmup_ms=0, min_rounds=10, max_rounds=10)
    measure({name: clock.steady(name, 1) for name in names[:-1]}, clock.steady(REFERENCE, 1), protocol)
    warming = 3 + 5
    assert clock.passes == dict.fromkeys(names, warming + 10)


def test_the_seed_decides_the_order(clock: Clock) -> None:
    orders = []
    for seed in (1, 1, 2):
        clock.order.clear()
        measure({"a": clock.steady("a", 1), "b": clock.steady("b", 1)}, clock.steady("r", 1), QUICK, seed)
        orders.append(clock.order.copy())
    assert orders[0] == orders[1] != orders[2]


def test_intervals_contain_the_median(clock: Clock) -> None:
    runs = {str(spread): noisy(clock, str(spread), 0.1, spread) for spread in (0.01, 0.1, 0.5)}
    found = measure(runs, clock.steady(REFERENCE, 0.1), QUICK)
    widths = []
    for name in runs:
        assert found[name].ratio_low <= found[name].ratio <= found[name].ratio_high
        assert found[name].p50_ms <= found[name].p90_ms <= found[name].p99_ms
        widths.append(found[name].ratio_high - found[name].ratio_low)
    assert widths == sorted(widths)


def test_the_reference_is_one(clock: Clock) -> None:
    reference = measure({}, noisy(clock, REFERENCE, 0.1, 0.3), QUICK)[REFERENCE]
    assert (reference.ratio, reference.ratio_low, reference.ratio_high) == (1, 1, 1)
    assert isinstance(reference, Timing)


def test_the_interval_covers_the_true_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        low, high = interval(rng.normal(5, 1, 50), rng, draws=200)
        covered += low <= 5 <= high
    assert 0.90 <= covered / 300 <= 0.99


@pytest.mark.parametrize("values", [{"block_ms": 0}, {"min_rounds": 1}, {"half_width": 0}, {"half_width": 1}, {"x": 1}])
def test_protocols_that_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Protocol"):
        Protocol.model_validate(values)
