"""Random configurations of about a given speed."""

from __future__ import annotations

import math
from collections import Counter
from statistics import median
from typing import Any

import pytest

from whc.search import space
from whc.search.exploration import Explorer

RAW: dict[str, Any] = {
    "model": {
        "backbone": {"baseline": {}, "inverted_se": {"expansion": [2, 4], "se_reduction": [0, 8]}},
        "width": [4, 8, 16, 32],
        "depth": {"int": [2, 6]},
        "image_size": [16, 24, 32, "48x30"],
    },
    "training": {"lr": {"float": [1e-3, 1e-2], "log": True}},
}


def latency(drawn: dict[str, Any]) -> float:
    """A made-up machine: 0.005 to 2 ms."""
    size = drawn["model.image_size"]
    area = 48 * 30 if size == "48x30" else size * size
    slower = drawn.get("model.backbone.inverted_se.expansion", 1)
    return float(1e-6 * area * drawn["model.width"] * drawn["model.depth"] ** 0.5 * slower) + 0.002


@pytest.fixture
def tree() -> space.Section:
    return space.compile_space(RAW, "space.yaml")


def aimed(explorer: Explorer, timed: list[tuple[dict[str, Any], float]], aim_ms: float) -> float:
    """The median latency of draws that aim at one."""
    return median(latency(explorer.draw(timed, aim_ms)) for _ in range(21))


def test_draws_are_about_as_fast_as_wanted(tree: space.Section) -> None:
    explorer = Explorer(tree, seed=0)
    timed = [(drawn, latency(drawn)) for drawn in (explorer.draw([], 1.0) for _ in range(20))]
    for aim_ms in (0.008, 0.02, 0.05, 0.15):
        assert abs(math.log(aimed(explorer, timed, aim_ms) / aim_ms)) < math.log(2)


def test_draws_are_faster_than_anything_seen_where_that_is_wanted(tree: space.Section) -> None:
    explorer = Explorer(tree, seed=0)
    everything = [explorer.draw([], 1.0) for _ in range(60)]
    timed = [(drawn, latency(drawn)) for drawn in everything if latency(drawn) > 0.03]
    assert aimed(explorer, timed, 0.02) < 0.03


def test_without_latencies_every_choice_is_as_likely_as_any_other(tree: space.Section) -> None:
    explorer = Explorer(tree, seed=0)
    widths = Counter(explorer.draw([], 1.0)["model.width"] for _ in range(400))
    assert set(widths) == {4, 8, 16, 32}
    assert min(widths.values()) > 60


def test_rules_are_kept_and_the_seed_decides() -> None:
    ruled = space.compile_space({**RAW, "rules": ["model.depth <= 3 where model.image_size <= 16"]}, "space.yaml")
    drawn = [[Explorer(ruled, seed).draw([], 1.0) for _ in range(5)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    explorer = Explorer(ruled, seed=2)
    some = [explorer.draw([], 1.0) for _ in range(200)]
    assert all(one["model.depth"] <= 3 for one in some if one["model.image_size"] == 16)
