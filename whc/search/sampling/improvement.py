"""The sampler `auto` draws what two Gaussian processes expect to add most to the hypervolume.

Emmerich, Giannakoglou and Naujoks 2006, "Single- and multiobjective evolutionary optimization assisted by Gaussian
random field metamodels", with one change: only the score is uncertain, as a few measurements without training predict
latency well. The expected gain is then a sum over the steps of the front.

The work of a training can be computed beforehand. The score and the time that a trial takes both depend on it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from whc.pareto import Point, front
from whc.records.results import reference_point
from whc.search.sampling.limits import Sample, samples
from whc.search.sampling.surrogate import Surrogate
from whc.search.space import ranges, space
from whc.trials.config import TrialConfig

Array = NDArray[np.float64]

# Candidates drawn evenly, and near the front. Climbing from the best candidates to better ones was tried: it reached
# less. Some chance makes up for the errors of the processes.
EVEN_CANDIDATES, NEAR_CANDIDATES = 192, 192
MAX_CHANGES = 3  # parameters in which a candidate near the front differs from its parent
# At its beginning a search takes, of so many even draws, the one with the least work (Lee, Perrone, Archambeau and
# Seeger 2020, "Cost-aware Bayesian Optimization"): large networks come when more is known. A choice that all trials so
# far have made counts as e times the work; otherwise the cheapest backbone would be the only one.
BEGIN_CANDIDATES = 8
MAX_OBSERVATIONS = 128  # the front's first: a draw must not take longer the more trials there are
# The share of errors falls as a power of the work, with exponents of 0.07 to 0.35 (Hestness et al. 2017, "Deep Learning
# Scaling is Predictable, Empirically"). Without it, larger pictures seem bad for all networks once shallow ones, which
# cannot use them, have tried them.
WORK_EXPONENT = 0.1
WORK_SAMPLES = 64  # draws from which the work of a training is learnt
QUADRATURE_NODES, QUADRATURE_WEIGHTS = np.polynomial.hermite_e.hermegauss(7)


@dataclass(frozen=True)
class Observation:
    """A configuration, its latency, and its score: None where it was measured and not trained."""

    drawn: Mapping[str, Any]
    latency_ms: float
    score: float | None


class Chooser:
    """Chooses what to try next.

    `largest_gain` is the hypervolume that the best of the last candidates was expected to add; None before any.

    Args:
        tree: the compiled space.
        labels: those of the data; None while it is not known.
        floor: the score that a network must be better than.
        limit_ms: the limit on latency, if there is one.
        seed: of the draws.
    """

    def __init__(
        self, tree: space.Section, labels: Sequence[str] | None, floor: float, limit_ms: float | None, seed: int
    ) -> None:
        self._tree, self._floor, self._limit_ms = tree, floor, limit_ms
        self._rng = random.Random(seed)  # noqa: S311 (no secret)
        self._samples = samples(tree, labels, seed)
        self._distributions = space.distributions(tree)
        self._features = {key: _Encoding(distribution) for key, distribution in self._distributions.items()}
        self._of_network = [key for key in self._distributions if key.startswith("model.")]
        widths = {key: len(features(None)) for key, features in self._features.items()}
        self._of_work = [
            *self._of_network,
            *(key for key in ("training.epochs", "training.batch_size") if key in widths),
        ]
        self._score_model = Surrogate(1 + sum(widths.values()), noise=0.2)
        self._latency = Surrogate(1 + sum(widths[key] for key in self._of_network), noise=0.02)
        self._drawn: list[Sample] = []
        self.largest_gain: float | None = None

    def begin(self, earlier: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The parameters of the first trials, of which there are too few to expect anything.

        Args:
            earlier: what was drawn for all trials so far.

        Raises:
            StudyError: hardly anything that the space draws can be built.
        """
        sampled = list(islice(self._samples, BEGIN_CANDIDATES))
        self._drawn += sampled
        earlier_keys = set(map(_key, earlier))
        new = [sample for sample in sampled if _key(sample.drawn) not in earlier_keys] or sampled
        return min(new, key=lambda sample: _work(sample) * math.exp(self._repeated_words(sample.drawn, earlier))).drawn

    def choose(self, observations: Sequence[Observation], running: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The parameters to try next.

        Args:
            observations: of the trials so far, two at least.
            running: what was drawn for trials that have no observation yet.
        """
        best = self._front(observations)
        on_front = set(map(id, best))
        others = [observation for observation in observations if id(observation) not in on_front]
        shown = [*best, *self._rng.sample(others, len(others))][:MAX_OBSERVATIONS]
        networks = self._encoded([observation.drawn for observation in shown], self._of_network)
        self._latency.fit(networks, np.log([observation.latency_ms for observation in shown]))
        self._score_model.fit(*self._score_observations(shown))
        if running:
            self._score_model.believe(self._encoded(running, self._features))
        drawn_before = {_key(draw) for draw in (*(observation.drawn for observation in observations), *running)}
        even = [self._even_draw() for _ in range(EVEN_CANDIDATES)]
        draws = self._used_parameters([*even, *self._near_draws([observation.drawn for observation in best])])
        candidates = [draw for draw in draws if _key(draw) not in drawn_before] or draws
        cost = self._latency.predict(self._encoded(candidates, self._of_network))[0]
        # The time of a trial grows with about the root of its work: its training a little faster, its start not at all.
        # Without the root, a search reached 0.95 times the hypervolume after 8 simulated minutes (16 worlds, p 0.08),
        # and 0.99 times after 20 (p 0.02).
        root_of_work = np.exp(0.5 * self._log_work(candidates))
        gains = self._gains(self._expected_scores(candidates), cost, observations)
        self.largest_gain = float(gains.max())
        order = (candidates[i] for i in np.lexsort((cost, -gains / root_of_work)))  # the fastest, if nothing is gained
        return next((draw for draw in order if self._can_be_built(draw)), candidates[0])

    def _repeated_words(self, drawn: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> float:
        """How often its words (not its numbers) have been drawn before: the sum of their shares."""
        words = [key for key, features in self._features.items() if features.words and key in drawn]
        same = sum(bool(other.get(key) == drawn[key]) for key in words for other in earlier)
        return same / max(1, len(earlier))

    def _front(self, observations: Sequence[Observation]) -> list[Observation]:
        """The observations with a score that no other dominates."""
        trained = [
            (observation, Point(observation.score, observation.latency_ms))
            for observation in observations
            if observation.score is not None
        ]
        return [trained[i][0] for i in front([point for _, point in trained])]

    def _score_observations(self, observations: Sequence[Observation]) -> tuple[Array, Array]:
        """The rows and values that the surrogate of scores learns from: unfolded, less what the work alone explains."""
        scored = [
            (observation.drawn, _unfolded(max(observation.score, self._floor)))
            for observation in observations
            if observation.score is not None
        ] or [(observations[0].drawn, _unfolded(self._floor))]
        draws, values = zip(*scored, strict=True)
        return self._encoded(draws, self._features), np.array(values) - WORK_EXPONENT * self._log_work(draws)

    @cached_property
    def _learnt_work(self) -> Surrogate:
        """Predicts the logarithm of the work of a training; learnt from some draws."""
        sampled = [*self._drawn, *islice(self._samples, max(0, WORK_SAMPLES - len(self._drawn)))]
        rows = self._encoded([sample.drawn for sample in sampled], self._of_work)
        work = Surrogate(rows.shape[1], noise=0.02)
        work.fit(rows, np.log([_work(sample) for sample in sampled]))
        return work

    def _log_work(self, draws: Sequence[Mapping[str, Any]]) -> Array:
        """The logarithm of the work of each."""
        return self._learnt_work.predict(self._encoded(draws, self._of_work))[0]

    def _expected_scores(self, draws: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
        """Mean and standard deviation of the score of each, unfolded, at the end of its training."""
        mean, deviation = self._score_model.predict(self._encoded(draws, self._features))
        return mean + WORK_EXPONENT * self._log_work(draws), deviation

    def _gains(self, expected: tuple[Array, Array], cost: Array, observations: Sequence[Observation]) -> Array:
        """The hypervolume that each of some candidates is expected to add.

        Args:
            expected: as `_expected_scores` gives it.
            cost: logarithms of their latencies.
            observations: what there is already.
        """
        mean, deviation = expected
        best = self._front(observations)
        # Where no trial comes near the limit, gains end at twice the slowest, as they do without a limit.
        unlimited = reference_point(self._floor, None, (observation.latency_ms for observation in observations))
        slowest_ms = unlimited.cost if self._limit_ms is None else min(self._limit_ms, unlimited.cost)
        edges = np.log([observation.latency_ms for observation in best] + [slowest_ms])
        steps = [(-math.inf, edges[0], self._floor)] + [
            (low, high, max(self._floor, observation.score or 0.0))
            for low, high, observation in zip(edges[:-1], edges[1:], best, strict=True)
        ]
        gains = np.zeros(len(cost))
        for node, weight in zip(QUADRATURE_NODES, QUADRATURE_WEIGHTS / QUADRATURE_WEIGHTS.sum(), strict=True):
            score = 1 - np.exp(-(mean + node * deviation))
            for low, high, quality in steps:
                wide = np.clip(min(high, edges[-1]) - np.maximum(low, cost), 0, None)
                gains += weight * wide * np.clip(score - quality, 0, None)
        return gains

    def _even_draw(self) -> dict[str, Any]:
        return {key: ranges.at_random(distribution, self._rng) for key, distribution in self._distributions.items()}

    def _near_draws(self, best: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Draws that differ in few parameters from some others."""
        for _ in range(NEAR_CANDIDATES if best else 0):
            parent = self._rng.choice(best)
            changed = self._rng.sample(sorted(parent), min(len(parent), self._rng.randint(1, MAX_CHANGES)))
            yield {**self._even_draw(), **{key: value for key, value in parent.items() if key not in changed}}

    def _used_parameters(self, draws: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The parameters that each draw needs; draws that break a rule are left out."""
        used = []
        for draw in draws:
            trial = FixedTrial(dict(draw))
            try:
                space.suggest(self._tree, trial)
            except space.BrokenRuleError:
                continue
            used.append(dict(trial.params))
        return used

    def _can_be_built(self, drawn: Mapping[str, Any]) -> bool:
        try:
            TrialConfig.model_validate(space.suggest(self._tree, FixedTrial(dict(drawn))))
        except ValueError:
            return False
        return True

    def _encoded(self, draws: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> Array:
        """A row for each draw: of some parameters, after a constant, as a space may draw nothing of the network."""
        return np.array([[0.5, *(x for key in keys for x in self._features[key](draw.get(key)))] for draw in draws])


def _key(drawn: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(drawn.items())


def _work(sample: Sample) -> float:
    """The work of a training, without a unit: its time depends on the activations that a step moves through memory."""
    training = sample.config.training
    return sample.peak_memory_bytes / training.batch_size * training.epochs


def _unfolded(score: float) -> float:
    """A score on a scale on which 0.90 is as far from 0.80 as 0.80 from 0.60."""
    return -math.log(1 - min(score, 0.999))


class _Encoding:
    """A parameter's value as numbers of 0 to 1; the middle of everything where it is not used."""

    def __init__(self, distribution: BaseDistribution) -> None:
        self._distribution = distribution
        self.words = False
        if isinstance(distribution, CategoricalDistribution):
            logs = [_log(choice) for choice in distribution.choices]
            numbers = [number for number in logs if number is not None]
            self.words = len(numbers) < len(logs)  # some of them, at least
            if self.words:
                rows = [[0.5 * (other == choice) for other in distribution.choices] for choice in distribution.choices]
            else:
                low, wide = min(numbers), max(numbers) - min(numbers) or 1.0
                rows = [[(number - low) / wide] for number in numbers]
            self._rows = dict(zip(map(str, distribution.choices), rows, strict=True))
            self._unused = [0.0] * len(rows[0]) if len(rows[0]) > 1 else [0.5]

    def __call__(self, value: Any) -> list[float]:
        distribution = self._distribution
        if isinstance(distribution, CategoricalDistribution):
            return self._unused if value is None else self._rows[str(value)]
        assert isinstance(distribution, FloatDistribution | IntDistribution)  # noqa: S101 (the three kinds there are)
        scale = math.log if distribution.log else float
        low, high = scale(distribution.low), scale(distribution.high)
        return [0.5 if value is None or high == low else (scale(value) - low) / (high - low)]


def _log(value: Any) -> float | None:
    """A number, or a size such as 48x30 (as the side of a square of that area), on a log scale; None of a word."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        sides = value.split("x")
        return math.log(math.prod(map(int, sides)) + 1) / len(sides) if all(map(str.isdigit, sides)) else None
    return math.log(value + 1) if isinstance(value, int | float) and value >= 0 else None
