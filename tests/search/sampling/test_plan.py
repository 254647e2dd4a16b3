"""What a search does next: which trials it hands out, and when it is over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from whc.records.results import hypervolume_of
from whc.search.running.driver import Driver
from whc.search.sampling.plan import FIRST_TRIALS, NEXT_TRIALS

Begin = Callable[..., Driver]
Left = Callable[..., str]


def test_no_new_trial_after_the_minutes(begin_changed: Begin, monkeypatch: pytest.MonkeyPatch, finish: Left) -> None:
    driver = begin_changed(minutes=10.0)
    job = driver.next_job()
    monkeypatch.setattr(driver._plan, "_clock", lambda: 601.0)
    assert driver.next_job() is None
    assert not driver.over
    driver.ended(finish(job, 0.9))
    assert driver.over


def test_a_search_none_of_whose_first_trials_keeps_the_limits_ends(begin_changed: Begin, leave: Left) -> None:
    driver = begin_changed(trials=100)
    for number in range(FIRST_TRIALS):
        assert driver.nearest_miss is None
        driver.ended(leave(driver.next_job(), "infeasible", latency_ms=2.0 + (number - 7) ** 2))
    assert driver.next_job() is None
    assert driver.complete
    assert driver.nearest_miss is not None
    assert driver.nearest_miss.trial_id == "00007"


def test_one_that_keeps_the_limits_is_enough(begin_changed: Begin, leave: Left, finish: Left) -> None:
    driver = begin_changed(trials=100)
    for _ in range(FIRST_TRIALS - 1):
        driver.ended(leave(driver.next_job(), "infeasible", latency_ms=2.0))
    driver.ended(finish(driver.next_job(), 0.6))
    driver.ended(leave(driver.next_job(), "infeasible", latency_ms=2.0))
    assert driver.nearest_miss is None
    assert driver.next_job() is not None


def test_a_search_ends_when_the_past_ten_added_too_little(begin_changed: Begin, finish: Left) -> None:
    driver = begin_changed(trials=100, sampler="random", stop_below=0.01)
    for number in range(NEXT_TRIALS + 1):
        assert driver._plan.expected_share is None
        driver.ended(finish(driver.next_job(), 0.8 if number else 0.6))
    assert driver._plan.expected_share == pytest.approx(1 - (0.6 - 0.5) / (0.8 - 0.5))
    assert driver.next_job() is not None
    driver.ended(finish(driver.next_job(), 0.8))
    assert driver._plan.expected_share == 0
    assert driver.next_job() is None


def test_auto_says_what_it_expects_of_the_next_ten(
    begin_changed: Begin, finish: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = begin_changed(trials=100, sampler="auto", stop_below=0.01)
    for _ in range(NEXT_TRIALS + 2):
        driver.ended(finish(driver.next_job(), 0.8))
    volume, gain = hypervolume_of(driver.study, list(driver.records.values())), driver._plan._sampler.largest_gain
    assert gain is not None
    assert driver._plan.expected_share == pytest.approx(NEXT_TRIALS * gain / volume)
    job = driver.next_job()
    monkeypatch.setattr(driver._plan._sampler._chooser, "largest_gain", 0.0009 * volume)
    driver.ended(finish(job, 0.8))
    assert driver.next_job() is None
