"""What a search does next: who goes on, who is stopped, and when it is over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from whc.search.running.driver import Driver
from whc.search.sampling.plan import ENOUGH_FINISHED, FIRST_TRIALS
from whc.search.space import space

Begin = Callable[..., Driver]
Left = Callable[..., str]


def test_the_better_half_goes_on_and_the_rest_is_stopped_at_the_end(
    halved: Begin, folder: Path, calls: list[tuple[str, ...]], wait: Left, finish: Left
) -> None:
    driver = halved()
    for val_score in (0.6, 0.8):
        driver.ended(wait(driver.next_job(), val_score))
    assert driver.records == {}
    on = driver.next_job()
    assert (on.assignment.trial_id, on.assignment.until) == ("00001", 2)
    assert on.assignment.drawn.keys() <= space.distributions(space.compile_space(driver.study.space, "")).keys()
    driver.ended(finish(on, 0.9))
    for val_score in (0.7, 0.5):
        driver.ended(wait(driver.next_job(), val_score))
    assert not driver.over
    on = driver.next_job()
    assert on.assignment.trial_id == "00002"
    assert driver.next_job() is None
    assert not driver.over  # the one that runs may still make another go on
    driver.ended(finish(on, 0.85))
    assert driver.next_job() is None
    assert driver.over
    driver.finish()
    states = {trial_id: one.state for trial_id, one in driver.records.items()}
    assert states == {"00000": "stopped", "00001": "finished", "00002": "finished", "00003": "stopped"}
    assert driver.records["00000"].reason == "stopped after 1 of 2 epochs"
    assert not list(folder.glob("trials/*/rung.*"))
    assert ("one", "stopped", "00000") in calls


def test_no_new_trial_after_the_minutes_or_when_nothing_improves(
    halved: Begin, monkeypatch: pytest.MonkeyPatch, finish: Left
) -> None:
    driver = halved(minutes=10.0, scheduler={"rungs": 1})
    job = driver.next_job()
    monkeypatch.setattr(driver._plan, "_clock", lambda: 601.0)
    assert driver.next_job() is None
    assert not driver.over
    driver.ended(finish(job, 0.9))
    assert driver.over


def test_a_search_that_does_not_improve_ends_early(halved: Begin, finish: Left) -> None:
    driver = halved(patience=2, scheduler={"rungs": 1}, trials=100)
    driver.ended(finish(driver.next_job(), 0.9))
    driver.ended(finish(driver.next_job(), 0.8))
    assert not driver.over
    driver.ended(finish(driver.next_job(), 0.7))
    assert driver.over
    assert driver.next_job() is None


def test_what_is_hopeless_is_known_once_enough_have_finished(halved: Begin, finish: Left) -> None:
    driver = halved(scheduler={"rungs": 1}, trials=100)
    for number in range(ENOUGH_FINISHED):
        job = driver.next_job()
        assert job.assignment.hopeless_ms is None
        driver.ended(finish(job, 0.6 + number / 100))
    assert driver.next_job().assignment.hopeless_ms == pytest.approx(2.0 * 0.5)


def test_a_search_none_of_whose_first_trials_keeps_the_limits_ends(halved: Begin, leave: Left) -> None:
    driver = halved(trials=100)
    for number in range(FIRST_TRIALS):
        assert driver.nearest_miss is None
        driver.ended(leave(driver.next_job(), "infeasible", latency_ms=2.0 + (number - 7) ** 2))
    assert driver.next_job() is None
    assert driver.complete
    assert driver.nearest_miss is not None
    assert driver.nearest_miss.trial_id == "00007"


def test_one_that_keeps_the_limits_is_enough(halved: Begin, leave: Left, finish: Left) -> None:
    driver = halved(trials=100, scheduler={"rungs": 1})
    for _ in range(FIRST_TRIALS - 1):
        driver.ended(leave(driver.next_job(), "infeasible", latency_ms=2.0))
    driver.ended(finish(driver.next_job(), 0.6))
    driver.ended(leave(driver.next_job(), "infeasible", latency_ms=2.0))
    assert driver.nearest_miss is None
    assert driver.next_job() is not None
