"""What `auto` chooses to try, on a machine and a data set made of two formulas."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from whc.pareto import Point, hypervolume
from whc.search.running import study
from whc.search.sampling.improvement import MAX_OBSERVATIONS, WORK_EXPONENT, Array, Chooser, Observation, _work
from whc.search.sampling.limits import samples
from whc.search.space import space
from whc.trials.config import TrialConfig

RAW: dict[str, Any] = {
    "model": {
        "backbone": {"baseline": {}, "inverted_se": {"expansion": [2, 4], "se_reduction": [0, 8]}},
        "width": [4, 8, 16, 32],
        "depth": {"int": [2, 6]},
        "image_size": [16, 24, 32, "48x30"],
    },
    "training": {"lr": {"float": [1e-3, 1e-2], "log": True}, "resampling": ["none", "weighted"]},
}
FLOOR, LIMIT_MS = 0.5, 0.2
WORST = Point(FLOOR, LIMIT_MS)
SPACES = Path(__file__).parents[3] / "search_spaces"


def measured(drawn: dict[str, Any]) -> Observation:
    """A larger network is better and slower; 5e-3 is the best learning rate, and weighting is of no good."""
    size = drawn["model.image_size"]
    area = 48 * 30 if size == "48x30" else size * size
    work = (
        area * drawn["model.width"] * drawn["model.depth"] ** 0.5 * drawn.get("model.backbone.inverted_se.expansion", 1)
    )
    off = math.log(drawn["training.lr"] / 5e-3)
    f1 = 0.9 - 0.4 * math.exp(-work / 30_000) - 0.1 * off**2 - 0.1 * (drawn["training.resampling"] == "weighted")
    return Observation(drawn, 0.005 + 1e-6 * work, f1)


@pytest.fixture
def tree() -> space.Section:
    return space.compile_space(RAW, "space.yaml")


def at_random(tree: space.Section, seed: int) -> Callable[[], dict[str, Any]]:
    """Draws evenly, and gives what of the draw is used."""
    rng = random.Random(seed)

    def draw() -> dict[str, Any]:
        trial = space.at_random(tree, rng)
        space.suggest(tree, trial)
        return dict(trial.params)

    return draw


def found(tried: list[Observation]) -> float:
    return hypervolume([Point(one.score, one.latency_ms) for one in tried], WORST)


def work(tried: Observation) -> float:
    """What a training takes: as its latency does here, it grows with the network, and the least one takes something."""
    return tried.latency_ms


def test_it_finds_more_than_even_draws_of_as_much_work(tree: space.Section) -> None:
    ratios = []
    for seed in range(3):
        draw, chooser = at_random(tree, seed), Chooser(tree, None, FLOOR, LIMIT_MS, seed)
        evenly = [measured(draw()) for _ in range(30)]
        chosen = evenly[:8]
        while sum(map(work, chosen)) < sum(map(work, evenly)):
            chosen.append(measured(chooser.choose(chosen, [])))
        ratios.append(found(chosen[:-1]) / found(evenly))
    assert min(ratios) > 1
    assert np.mean(ratios) > 1.05


def test_both_ends_of_the_front_are_looked_at(tree: space.Section) -> None:
    draw, chooser = at_random(tree, 0), Chooser(tree, None, FLOOR, LIMIT_MS, 0)
    middle = sorted((measured(draw()) for _ in range(60)), key=lambda one: one.latency_ms)[20:40]
    chosen: list[Observation] = []
    while sum(map(work, chosen)) < sum(map(work, middle)):
        chosen.append(measured(chooser.choose(middle + chosen, [])))
    assert min(one.latency_ms for one in chosen) < middle[0].latency_ms
    assert max(one.latency_ms for one in chosen) > middle[-1].latency_ms


def test_what_runs_is_not_chosen_again(tree: space.Section) -> None:
    draw = at_random(tree, 0)
    tried = [measured(draw()) for _ in range(12)]
    running: list[dict[str, Any]] = []
    chooser = Chooser(tree, None, FLOOR, LIMIT_MS, 0)
    for _ in range(6):
        running.append(chooser.choose(tried, running))
    networks = {tuple(value for key, value in one.items() if key.startswith("model.")) for one in running}
    assert len({tuple(one.items()) for one in running}) == 6
    assert len(networks) >= 3


def test_what_a_network_has_no_use_for_does_not_blur_what_is_known_of_it(
    tree: space.Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, chooser = at_random(tree, 0), Chooser(tree, None, FLOOR, LIMIT_MS, 0)
    tried = [measured(draw()) for _ in range(20)]
    seen: list[dict[str, Any]] = []

    def expected(candidates: list[dict[str, Any]]) -> tuple[Array, Array]:
        seen.extend(candidates)
        return np.zeros(len(candidates)), np.ones(len(candidates))

    monkeypatch.setattr(chooser, "_expected_scores", expected)
    chooser.choose(tried, [])
    assert any("model.backbone.inverted_se.expansion" in one for one in seen)
    for one in seen:
        assert ("model.backbone.inverted_se.expansion" in one) == (one["model.backbone"] == "inverted_se")
    known = chooser._latency.predict(chooser._encoded([one.drawn for one in tried], chooser._of_network))[0]
    assert np.exp(known) == pytest.approx([one.latency_ms for one in tried], rel=0.1)


def test_nothing_is_trained_twice(tree: space.Section, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, chooser = at_random(tree, 0), Chooser(tree, None, FLOOR, LIMIT_MS, 0)
    tried = [measured(draw()) for _ in range(10)]
    twice = [tried[0].drawn, tried[1].drawn, draw()]
    monkeypatch.setattr(chooser, "_near_draws", lambda _: iter(twice))
    monkeypatch.setattr(chooser, "_even_draw", lambda: twice[0])
    assert chooser.choose(tried[:1] + tried[2:], [tried[1].drawn]) == twice[2]


def test_slow_networks_that_did_not_train_inform_of_latency_alone(tree: space.Section) -> None:
    draw, chooser = at_random(tree, 0), Chooser(tree, None, FLOOR, LIMIT_MS, 0)
    tried = [measured(draw()) for _ in range(20)]
    over = [Observation(one.drawn, one.latency_ms, None) for one in (measured(draw()) for _ in range(10))]
    chooser.choose(tried, [])
    drawn = [one.drawn for one in over]
    before = chooser._expected_scores(drawn)[0]
    chooser.choose([*tried, *over], [])
    assert chooser._expected_scores(drawn)[0] == pytest.approx(before, abs=0.05)
    assert chooser._latency.predict(chooser._encoded(drawn, chooser._of_network))[0] == pytest.approx(
        np.log([one.latency_ms for one in over]), abs=0.1
    )


def test_a_search_begins_with_what_trains_quickly_and_not_always_the_same(tree: space.Section) -> None:
    chooser, draw = Chooser(tree, None, FLOOR, LIMIT_MS, 0), at_random(tree, 0)
    begun: list[dict[str, Any]] = []
    for _ in range(8):
        begun.append(chooser.begin(begun))
    evenly = [measured(draw()).latency_ms for _ in range(60)]
    assert np.median([measured(one).latency_ms for one in begun]) < np.quantile(evenly, 0.25)
    assert len({tuple(one.items()) for one in begun}) == 8
    for key in ("model.backbone", "training.resampling"):
        assert len({one[key] for one in begun[:3]}) == 2


def test_longer_trainings_are_more_work(tree: space.Section) -> None:
    long = {**RAW, "training": {**RAW["training"], "epochs": [2, 40]}}
    begun = Chooser(space.compile_space(long, "space.yaml"), None, FLOOR, LIMIT_MS, 0)
    assert [begun.begin([])["training.epochs"] for _ in range(6)] == [2] * 6


def test_what_is_more_work_is_expected_to_err_less(tree: space.Section) -> None:
    """Of a network alone it is known how it does, and of a larger one nothing but that it is larger."""
    draw, chooser = at_random(tree, 0), Chooser(tree, None, FLOOR, LIMIT_MS, 0)
    network = {"model.backbone": "baseline", "model.width": 8, "model.depth": 3, "model.image_size": 16}
    trained = ({key: value for key, value in draw().items() if key.startswith("training.")} for _ in range(12))
    tried = [measured(network | training) for training in trained]
    chooser.choose(tried, [])
    smaller, larger = tried[0].drawn, {**tried[0].drawn, "model.width": 32, "model.depth": 6, "model.image_size": 32}
    less, more = chooser._log_work([smaller, larger])
    assert more - less > math.log(10)
    before, after = chooser._expected_scores([smaller, larger])[0]
    assert after - before == pytest.approx(WORK_EXPONENT * (more - less), rel=0.2)


def test_of_equal_gains_the_one_of_least_work_is_chosen(tree: space.Section, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, chooser = at_random(tree, 0), Chooser(tree, None, FLOOR, LIMIT_MS, 0)
    tried = [measured(draw()) for _ in range(10)]
    drawn = [draw() for _ in range(6)]
    monkeypatch.setattr(chooser, "_gains", lambda expected, cost, tried: np.ones(len(cost)))
    monkeypatch.setattr(chooser, "_near_draws", lambda _: iter(drawn))
    monkeypatch.setattr(chooser, "_even_draw", lambda: drawn[0])
    assert chooser.choose(tried, []) == drawn[np.argmin(chooser._log_work(drawn))]


@pytest.mark.parametrize("name", ["smile", "full", "sequence"])
def test_the_work_of_a_network_is_known_without_building_it(name: str) -> None:
    _, tree = study.read(SPACES / f"{name}.yaml")
    chooser = Chooser(tree, None, FLOOR, LIMIT_MS, 0)
    others = list(islice(samples(tree, None, 1), 24))
    off = chooser._log_work([one.drawn for one in others]) - np.log([_work(one) for one in others])
    assert np.sqrt(np.mean(off**2)) < 0.3


def test_a_space_of_trainings_alone_has_one_kind_of_work() -> None:
    tree = space.compile_space({"training": {"lr": {"float": [1e-3, 1e-2], "log": True}}}, "space.yaml")
    draw, chooser = at_random(tree, 0), Chooser(tree, None, FLOOR, LIMIT_MS, 0)
    tried = [Observation(draw(), 0.01, 0.7) for _ in range(8)]
    assert chooser.choose(tried, [])["training.lr"] > 0
    assert np.ptp(chooser._log_work([one.drawn for one in tried])) < 1e-6


def test_while_nothing_keeps_the_limit_faster_and_faster_ones_are_tried(tree: space.Section) -> None:
    draw, chooser = at_random(tree, 0), Chooser(tree, None, FLOOR, 0.001, 0)
    evenly = [measured(draw()) for _ in range(20)]
    slow = [Observation(one.drawn, one.latency_ms, None) for one in evenly[:8]]
    for _ in range(12):
        slow.append(Observation(drawn := chooser.choose(slow, []), measured(drawn).latency_ms, None))
        TrialConfig.model_validate(space.suggest(tree, FixedTrial(drawn)))
    chosen = [one.latency_ms for one in slow[8:]]
    assert np.median(chosen) < np.quantile([one.latency_ms for one in evenly], 0.1)


def test_no_limit_at_all(tree: space.Section) -> None:
    draw = at_random(tree, 0)
    tried = [measured(draw()) for _ in range(8)]
    assert Chooser(tree, None, FLOOR, None, 0).choose(tried, [])


def test_a_draw_takes_no_longer_with_more_trials(tree: space.Section) -> None:
    draw, chooser = at_random(tree, 0), Chooser(tree, None, FLOOR, LIMIT_MS, 0)
    chooser.choose([measured(draw()) for _ in range(5 * MAX_OBSERVATIONS)], [])
    assert len(chooser._latency._rows) == MAX_OBSERVATIONS


def test_the_same_seed_chooses_the_same(tree: space.Section) -> None:
    draw = at_random(tree, 0)
    tried = [measured(draw()) for _ in range(12)]
    assert Chooser(tree, None, FLOOR, LIMIT_MS, 3).choose(tried, []) == Chooser(tree, None, FLOOR, LIMIT_MS, 3).choose(
        tried, []
    )


@settings(max_examples=25)
@given(f1=st.floats(0.5, 0.95), ms=st.floats(0.01, 0.19))
def test_a_gain_that_is_certain_is_the_hypervolume_that_is_added(f1: float, ms: float) -> None:
    tree = space.compile_space(RAW, "space.yaml")
    chooser, draw = Chooser(tree, None, FLOOR, LIMIT_MS, 0), at_random(tree, 0)
    tried = [Observation(draw(), ms_, f1_) for ms_, f1_ in [(0.02, 0.6), (0.05, 0.8), (0.15, 0.7)]]

    known = [Point(one.score, one.latency_ms) for one in tried]
    added = hypervolume([*known, Point(f1, ms)], WORST) - hypervolume(known, WORST)
    certain = np.array([-math.log(1 - f1)]), np.zeros(1)
    gains = chooser._gains(certain, np.log([ms]), tried)
    assert gains[0] == pytest.approx(added, abs=1e-9)
