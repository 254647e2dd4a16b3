"""The law by which votes become a state: what it must never do, whatever the votes and the frame rate."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.tasks.classification import Config
from whc.tasks.smoothing import NO_SMOOTHING, Smoothing, State, border

SHORTS = st.floats(0.01, 1)
LAWS = st.builds(
    lambda short_s, more, hysteresis: Smoothing(short_s, 2 * short_s + more, hysteresis),
    SHORTS,
    st.floats(0, 2),
    st.floats(0, 0.4),
)
GAPS = st.lists(st.floats(0.001, 0.5), min_size=1, max_size=80)


def states(votes: list[int], seconds: list[float], law: Smoothing) -> list[int | None]:
    state, found = State(law), []
    for vote, moment in zip(votes, seconds, strict=True):
        state.vote(vote, moment)
        found.append(state.option)
    return found


def changes(values: list[int | None]) -> int:
    known = [value for value in values if value is not None]
    return sum(before != after for before, after in pairwise(known))


@given(LAWS, GAPS)
def test_a_constant_answer_is_one_state(law: Smoothing, gaps: list[float]) -> None:
    seconds = np.cumsum(gaps).tolist()
    found = states([1] * len(gaps), seconds, law)
    first = [moment >= seconds[0] + max(law.short_s, law.long_s / 2) for moment in seconds]
    assert found == [1 if is_due else None for is_due in first]


@given(LAWS, GAPS, GAPS)
def test_what_is_shorter_than_the_short_window_changes_nothing(
    law: Smoothing, gaps: list[float], flip: list[float]
) -> None:
    steady = np.arange(0, law.long_s + 0.2, 0.1).tolist()
    span = np.cumsum(flip)
    inside = (steady[-1] + span / span[-1] * 0.99 * law.short_s)[:-1].tolist()  # the last one is of the old state again
    later = (steady[-1] + 0.99 * law.short_s + np.cumsum(gaps)).tolist()
    votes = [0] * len(steady) + [1] * len(inside) + [0] * len(later)
    found = states(votes, [*steady, *inside, *later], law)
    assert set(found[len(steady) - 1 :]) == {0}


@given(LAWS, st.floats(5, 60), st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_a_change_is_followed_after_the_same_time_at_any_rate(law: Smoothing, rate: float, spans: list[int]) -> None:
    spans = [option for place, option in enumerate(spans) if place == 0 or option != spans[place - 1]]
    length = law.long_s + 2 / rate
    seconds = np.arange(0, length * len(spans), 1 / rate)
    votes = [spans[min(int(moment / length), len(spans) - 1)] for moment in seconds.tolist()]
    found = states(votes, seconds.tolist(), law)
    delay = max(law.short_s, law.long_s / 2)
    moments = [moment for moment, before, after in zip(seconds, [None, *found], found, strict=False) if before != after]
    assert [found[round(moment * rate)] for moment in moments] == spans
    for place, moment in enumerate(moments):
        assert abs(moment - (place * length + delay)) <= 1 / rate + 1e-5


@given(LAWS | st.just(NO_SMOOTHING), st.lists(st.tuples(st.integers(0, 2), st.floats(0.001, 0.5)), max_size=80))
def test_a_state_changes_no_oftener_than_the_votes(law: Smoothing, steps: list[tuple[int, float]]) -> None:
    votes = [vote for vote, _ in steps]
    found = states(votes, np.cumsum([gap for _, gap in steps]).tolist(), law)
    assert changes(found) <= changes([*votes])
    if law == NO_SMOOTHING:
        assert found == votes


@given(st.floats(0.001, 0.999), st.floats(0, 0.49))
def test_hysteresis_leaves_both_answers_in_reach(threshold: float, hysteresis: float) -> None:
    down, plain, up = (border(threshold, hysteresis, before) for before in (1, None, 0))
    assert 0 < down <= plain == threshold <= up < 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"short_s": 0.5, "long_s": 0.9}, "2 * short_s <= long_s <= 60 must hold, got 0.5, 0.9"),
        ({"short_s": float("nan")}, "must hold, got nan"),
        ({"long_s": 61.0}, "must hold, got 0.4, 61"),
        ({"hysteresis": 0.5}, "hysteresis must be in 0..0.5, got 0.5"),
        ({"median_s": 1.0}, "smoothing.median_s"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match="smoothing") as caught:
        Config.model_validate({"smoothing": parameters})
    assert message in str(caught.value)


def test_a_configuration_without_smoothing_is_written_as_before() -> None:
    assert Config().model_dump(mode="json") == {"threshold": 0.5}
    law = {"short_s": 0.1, "long_s": 0.5, "hysteresis": 0.05}
    assert Config.model_validate({"smoothing": law}).model_dump(mode="json") == {"threshold": 0.5, "smoothing": law}
