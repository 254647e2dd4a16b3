"""Random configurations of about a given speed: they explore a space evenly from its fast end to its slow one."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution

from whc.search import space

CANDIDATES = 64
PENALTY = 0.1
LEAST = 5  # latencies, to predict others


class Explorer:
    """Draws evenly, and keeps of many draws the one whose predicted latency is nearest to what is wanted.

    The prediction is a ridge regression of log latency on the logs of numbers and on which choices were made: crude,
    but it extends to networks faster than any that has been timed, and costs nothing beside a measurement.

    Args:
        tree: the compiled space.
        seed: of the draws.
    """

    def __init__(self, tree: space.Section, seed: int) -> None:
        self._tree = tree
        self._rng = random.Random(seed)  # noqa: S311 (no secret)
        self._known = {key: known for key, known in space.distributions(tree).items() if key.startswith("model.")}

    def draw(self, timed: Sequence[tuple[Mapping[str, Any], float]], aim_ms: float) -> dict[str, Any]:
        """Parameters for a trial.

        Args:
            timed: what was drawn for other trials, and their latencies in milliseconds.
            aim_ms: the latency wanted.
        """
        drawn = [self._random() for _ in range(CANDIDATES if len(timed) >= LEAST else 1)]
        if len(drawn) == 1:
            return drawn[0]
        rows = np.array([self._features(one) for one, _ in timed])
        latencies = np.log([ms for _, ms in timed])
        weights = np.linalg.solve(rows.T @ rows + PENALTY * np.eye(rows.shape[1]), rows.T @ latencies)
        return min(drawn, key=lambda one: abs(float(self._features(one) @ weights) - math.log(aim_ms)))

    def _random(self) -> dict[str, Any]:
        """Parameters drawn evenly; those that a rule forbids, or that cannot be built, are for the caller to redraw."""
        while True:
            trial = space.at_random(self._tree, self._rng)
            try:
                space.suggest(self._tree, trial)
            except space.Redraw:
                continue
            return dict(trial.params)

    def _features(self, drawn: Mapping[str, Any]) -> NDArray[np.float64]:
        features = [1.0]
        for key, known in self._known.items():
            value = drawn.get(key)
            if isinstance(known, CategoricalDistribution) and any(_log(choice) is None for choice in known.choices):
                features += [float(value == choice) for choice in known.choices]
            else:
                features.append((_log(value) or 0.0) if value is not None else 0.0)
        return np.array(features)


def _log(value: Any) -> float | None:
    """The log of a number above 0, or of a size such as 48x30 (as the side of a square of that area); 0 for 0."""
    if isinstance(value, str) and re.fullmatch(r"\d+x\d+", value):
        height, width = map(int, value.split("x"))
        return math.log(height * width) / 2
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return math.log(value) if value > 0 else 0.0
