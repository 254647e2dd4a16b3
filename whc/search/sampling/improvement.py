"""The sampler `auto`: what is expected to add most to the hypervolume, as two Gaussian processes expect it.

Emmerich, Giannakoglou and Naujoks 2006, "Single- and multiobjective evolutionary optimization assisted by Gaussian
random field metamodels", with one change: a configuration's latency is predicted well by a few measurements and needs
no training, so that only F1 is uncertain, and what is gained is a sum over the steps of the front.

Both that F1 and what it costs to know it go by the work of a training, which is known beforehand.
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

# Candidates drawn evenly, and next to what is on the front. Climbing from the best of them to better ones was tried and
# found less: some chance makes up for what the processes are wrong about.
EVEN, NEAR = 192, 192
CHANGES = 3  # parameters, at most, in which the latter differ from it
# Of so many even draws a search begins with the one that takes least work, as in Lee, Perrone, Archambeau and Seeger
# 2020, "Cost-aware Bayesian Optimization": what is large is drawn once something is known of what it may add. A choice
# that all trials so far have made counts as e times the work, or the cheapest backbone would be the only one.
FIRST_OF = 8
FEW = 16  # values: each of them is looked at, and a range of more is left to what is expected of it
MOST = 128  # observations, the front's first, so that a draw takes no longer however many trials there are
# The share of errors falls as a power of the work; Hestness et al. 2017, "Deep Learning Scaling is Predictable,
# Empirically", found exponents of 0.07 to 0.35. Without it, the larger pictures that a shallow network could not use
# are taken to be bad for all.
POWER = 0.1
WORKED = 64  # draws, of which it is learnt what work a training is
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(7)


@dataclass(frozen=True)
class Tried:
    """A configuration, its latency, and its F1 after parts (0 to 1) of its training."""

    drawn: Mapping[str, Any]
    latency_ms: float
    f1: Mapping[float, float]


class Chooser:
    """Chooses what to try next.

    Args:
        tree: the compiled space.
        floor: the F1 that a network must be better than.
        limit_ms: the limit on latency, if there is one.
        seed: of the draws.
    """

    def __init__(self, tree: space.Section, floor: float, limit_ms: float | None, seed: int) -> None:
        self._tree, self._floor, self._limit_ms = tree, floor, limit_ms
        self._rng = random.Random(seed)  # noqa: S311 (no secret)
        self._samples = samples(tree, seed)
        self._known = space.distributions(tree)
        self._features = {key: _Features(known) for key, known in self._known.items()}
        self._of_network = [key for key in self._known if key.startswith("model.")]
        widths = {key: len(features(None)) for key, features in self._features.items()}
        self._of_work = [
            *self._of_network,
            *(key for key in ("training.epochs", "training.batch_size") if key in widths),
        ]
        self._f1 = Surrogate(sum(widths.values()) + 1, noise=0.2)
        self._latency = Surrogate(sum(widths[key] for key in self._of_network), noise=0.02)
        self._drawn: list[Sample] = []

    def begin(self, seen: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The parameters to try while next to nothing is known.

        Args:
            seen: what was drawn for all trials so far.

        Raises:
            StudyError: hardly anything that the space draws can be built.
        """
        drawn = list(islice(self._samples, FIRST_OF))
        self._drawn += drawn
        known = set(map(_key, seen))
        new = [one for one in drawn if _key(one.drawn) not in known] or drawn
        return min(new, key=lambda one: _work(one) * math.exp(self._repeated(one.drawn, seen))).drawn

    def choose(self, tried: Sequence[Tried], running: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The parameters to try next.

        Args:
            tried: trials with what is known of them, two at least.
            running: what was drawn for those of which nothing is known yet.
        """
        best = self._front(tried)
        on_it = set(map(id, best))
        others = [one for one in tried if id(one) not in on_it]
        shown = [*best, *self._rng.sample(others, len(others))][:MOST]
        self._latency.fit(
            self._of([one.drawn for one in shown], self._of_network), np.log([one.latency_ms for one in shown])
        )
        self._f1.fit(*self._observed(shown))
        if running:
            self._f1.believe(self._with_parts(running, [1.0] * len(running)))
        known = {_key(one) for one in (*(one.drawn for one in tried), *running)}
        drawn = self._used([*(self._even() for _ in range(EVEN)), *self._near([one.drawn for one in best])])
        candidates = [one for one in drawn if _key(one) not in known] or drawn
        cost = self._latency.predict(self._of(candidates, self._of_network))[0]
        # Seconds grow with about the root of the work: training's a little faster, and a trial's start not at all.
        gains = self._gains(self._expected(candidates), cost, tried) / np.exp(0.5 * self._log_work(candidates))
        order = (candidates[i] for i in np.lexsort((cost, -gains)))  # the fastest, where nothing is to be gained
        return next((one for one in order if self._can_be_built(one)), candidates[0])

    def vary(self, tried: Sequence[Tried], running: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """One of the front's with one parameter set to a value that has been tried too little.

        What chance tried once, in bad company, the processes take to be bad: a larger picture with a learning rate that
        is too low. Among good ones it shows what it is worth.

        Args:
            tried: trials with what is known of them, two at least.
            running: what was drawn for those of which nothing is known yet.
        """
        seen = [*(one.drawn for one in tried), *running]
        known = set(map(_key, seen))
        best = [one.drawn for one in self._front(tried)]
        for key, value in self._least_tried(seen):
            parents = [one for one in best if key in one and one[key] != value]
            changed = [{**self._even(), **self._rng.choice(parents), key: value}] if parents else []
            for one in self._used(changed):
                if _key(one) not in known and self._can_be_built(one):
                    return one
        return self.choose(tried, running)

    def _least_tried(self, seen: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
        """Parameters with each of their values: what was drawn least of so many first, equal ones by chance."""
        counted = []
        for key, known in self._known.items():
            values = ranges.values(known)
            if isinstance(known, FloatDistribution) or len(values) > FEW:
                continue
            drawn = [one[key] for one in seen if key in one]
            evenly = len(drawn) / len(values)
            counted += [((drawn.count(one) + 1) / (evenly + 1), self._rng.random(), key, one) for one in values]
        return [(key, value) for *_, key, value in sorted(counted, key=lambda one: one[:2])]

    def _repeated(self, drawn: Mapping[str, Any], seen: Sequence[Mapping[str, Any]]) -> float:
        """How often its words (not its numbers) have been drawn before: the sum of their shares."""
        words = [key for key, features in self._features.items() if features.words and key in drawn]
        same = sum(bool(one.get(key) == drawn[key]) for key in words for one in seen)
        return same / max(1, len(seen))

    def _front(self, tried: Sequence[Tried]) -> list[Tried]:
        """The non-dominated ones of those that have been trained, by the best F1 so far."""
        trained = [one for one in tried if one.f1]
        return [trained[i] for i in front([Point(max(one.f1.values()), one.latency_ms) for one in trained])]

    def _observed(self, tried: Sequence[Tried]) -> tuple[Array, Array]:
        """F1 as the surrogate sees it."""
        seen = [(one.drawn, part, _unfolded(max(f1, self._floor))) for one in tried for part, f1 in one.f1.items()][
            :MOST
        ]
        if not seen:
            seen = [(tried[0].drawn, 1.0, _unfolded(self._floor))]
        drawn = [one for one, _, _ in seen]
        values = np.array([value for *_, value in seen])
        return self._with_parts(drawn, [part for _, part, _ in seen]), values - POWER * self._log_work(drawn)

    @cached_property
    def _learnt_work(self) -> Surrogate:
        """What work a training is, in logs, as learnt of some draws."""
        drawn = [*self._drawn, *islice(self._samples, max(0, WORKED - len(self._drawn)))]
        rows = self._of([one.drawn for one in drawn], self._of_work)
        work = Surrogate(rows.shape[1], noise=0.02)
        work.fit(rows, np.log([_work(one) for one in drawn]))
        return work

    def _log_work(self, drawn: Sequence[Mapping[str, Any]]) -> Array:
        """The logarithm of the work of each."""
        return self._learnt_work.predict(self._of(drawn, self._of_work))[0]

    def _expected(self, drawn: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
        """Mean and standard deviation of the F1 of each, unfolded, at the end of its training."""
        mean, deviation = self._f1.predict(self._with_parts(drawn, [1.0] * len(drawn)))
        return mean + POWER * self._log_work(drawn), deviation

    def _gains(self, expected: tuple[Array, Array], cost: Array, tried: Sequence[Tried]) -> Array:
        """The hypervolume that each of some candidates is expected to add.

        Args:
            expected: as `_expected` gives it.
            cost: logarithms of their latencies.
            tried: what there is already.
        """
        mean, deviation = expected
        best = self._front(tried)
        # Where nothing comes near the limit, a gain counts as far as it would without one.
        unlimited = reference_point(self._floor, None, (one.latency_ms for one in tried))
        slowest_ms = unlimited.cost if self._limit_ms is None else min(self._limit_ms, unlimited.cost)
        edges = np.log([one.latency_ms for one in best] + [slowest_ms])
        steps = [(-math.inf, edges[0], self._floor)] + [
            (low, high, max(self._floor, *one.f1.values()))
            for low, high, one in zip(edges[:-1], edges[1:], best, strict=True)
        ]
        gains = np.zeros(len(cost))
        for node, weight in zip(NODES, WEIGHTS / WEIGHTS.sum(), strict=True):
            f1 = 1 - np.exp(-(mean + node * deviation))
            for low, high, quality in steps:
                wide = np.clip(min(high, edges[-1]) - np.maximum(low, cost), 0, None)
                gains += weight * wide * np.clip(f1 - quality, 0, None)
        return gains

    def _even(self) -> dict[str, Any]:
        return {key: ranges.at_random(known, self._rng) for key, known in self._known.items()}

    def _near(self, best: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Draws that differ in few parameters from some others."""
        for _ in range(NEAR if best else 0):
            parent = self._rng.choice(best)
            changed = self._rng.sample(sorted(parent), min(len(parent), self._rng.randint(1, CHANGES)))
            yield {**self._even(), **{key: value for key, value in parent.items() if key not in changed}}

    def _used(self, drawn: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What of each draw is used; those that break a rule are left out."""
        used = []
        for one in drawn:
            trial = FixedTrial(dict(one))
            try:
                space.suggest(self._tree, trial)
            except space.Redraw:
                continue
            used.append(dict(trial.params))
        return used

    def _can_be_built(self, drawn: Mapping[str, Any]) -> bool:
        try:
            TrialConfig.model_validate(space.suggest(self._tree, FixedTrial(dict(drawn))))
        except ValueError:
            return False
        return True

    def _of(self, drawn: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Array:
        """A row for each draw, of some parameters."""
        return np.array([[x for key in keys for x in self._features[key](one.get(key))] for one in drawn])

    def _with_parts(self, drawn: Sequence[Mapping[str, Any]], parts: Sequence[float]) -> Array:
        """A row for each training: the network, how it is trained, and how much of that."""
        rows = [[x for key, features in self._features.items() for x in features(one.get(key))] for one in drawn]
        return np.column_stack([np.array(rows), np.log(parts)])


def _key(drawn: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(drawn.items())


def _work(sample: Sample) -> float:
    """What training it takes, in no unit: its time goes by the activations that a step moves through memory."""
    training = sample.config.training
    return sample.peak_memory_bytes / training.batch_size * training.epochs


def _unfolded(f1: float) -> float:
    """F1 on a scale on which 0.90 is as far from 0.80 as 0.80 from 0.60."""
    return -math.log(1 - min(f1, 0.999))


class _Features:
    """A parameter's value as numbers of 0 to 1; the middle of everything where it is not used."""

    def __init__(self, known: BaseDistribution) -> None:
        self._known = known
        self.words = False
        if isinstance(known, CategoricalDistribution):
            logs = [_log(choice) for choice in known.choices]
            numbers = [one for one in logs if one is not None]
            self.words = len(numbers) < len(logs)  # some of them, at least
            if self.words:
                rows = [[0.5 * (one == choice) for one in known.choices] for choice in known.choices]
            else:
                low, wide = min(numbers), max(numbers) - min(numbers) or 1.0
                rows = [[(one - low) / wide] for one in numbers]
            self._rows = dict(zip(map(str, known.choices), rows, strict=True))
            self._unused = [0.0] * len(rows[0]) if len(rows[0]) > 1 else [0.5]

    def __call__(self, value: Any) -> list[float]:
        known = self._known
        if isinstance(known, CategoricalDistribution):
            return self._unused if value is None else self._rows[str(value)]
        assert isinstance(known, FloatDistribution | IntDistribution)  # noqa: S101 (the three kinds there are)
        scale = math.log if known.log else float
        low, high = scale(known.low), scale(known.high)
        return [0.5 if value is None or high == low else (scale(value) - low) / (high - low)]


def _log(value: Any) -> float | None:
    """A number, or a size such as 48x30 (as the side of a square of that area), on a log scale; None of a word."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        sides = value.split("x")
        return math.log(math.prod(map(int, sides)) + 1) / len(sides) if all(map(str.isdigit, sides)) else None
    return math.log(value + 1) if isinstance(value, int | float) and value >= 0 else None
