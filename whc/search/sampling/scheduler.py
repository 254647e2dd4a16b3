"""Which trial trains further: asynchronous successive halving over non-dominated rank, band by band of latency.

A trial stops at each rung, and goes on from its checkpoint once it is among the best of those that have been there (Li
et al. 2020, "A System for Massively Parallel Hyperparameter Tuning": nothing waits for a rung to fill). Best means:
dominated by as few layers of others as possible, which compares scores only with trials that are no slower. The share
that goes on is taken in each octave of latency by itself, so that small networks need not beat large ones to survive.
"""

from __future__ import annotations

import math
from collections import defaultdict

from pydantic import Field

from whc.config import Settings
from whc.pareto import Point, ranks


class Halving(Settings):
    """How trials are cut short: of those at a rung the best one in `eta` trains `eta` times as long.

    `rungs` counts the lengths of training, full length included: with 1, every trial trains to its end.
    """

    eta: int = Field(3, ge=2, le=10)
    rungs: int = Field(3, ge=1, le=6)

    def epochs_at(self, epochs: int) -> list[int]:
        """Epochs trained at each rung, the last of which is `epochs`; short trainings have fewer rungs."""
        lengths = (round(epochs / self.eta**cuts) for cuts in reversed(range(self.rungs)))
        return sorted({max(1, length) for length in lengths})


class Scheduler:
    """Remembers what each trial reached at each rung (counted from 0), and decides which trial goes on.

    Its decisions depend on the order of the calls alone.
    """

    def __init__(self, config: Halving) -> None:
        self._eta = config.eta
        self._reached: dict[int, dict[str, Point]] = defaultdict(dict)
        self._gone_on: dict[int, set[str]] = defaultdict(set)

    def reached(self, trial_id: str, rung: int, point: Point) -> None:
        """A trial waits at a rung, with its validation score so far and its latency in milliseconds."""
        self._reached[rung][trial_id] = point

    def gone_on(self, trial_id: str, rung: int) -> None:
        """A trial that was at a rung waits there no longer: it trains on, or cannot."""
        self._gone_on[rung].add(trial_id)

    def next(self, closing: bool) -> tuple[str, int] | None:
        """A trial to train on, and the rung it waits at; the one that is furthest, then the fastest band's best.

        Args:
            closing: no new trial will come, so that a band too small for a share sends on its best all the same.
        """
        for rung in sorted(self._reached, reverse=True):
            for band in self._bands(rung):
                share = math.ceil(len(band) / self._eta) if closing else len(band) // self._eta
                for trial_id in band[:share]:
                    if trial_id not in self._gone_on[rung]:
                        return trial_id, rung
        return None

    def _bands(self, rung: int) -> list[list[str]]:
        """The trials that have been at a rung, best first, octave by octave of latency, the fastest first."""
        reached = self._reached[rung]
        layer = dict(zip(reached, ranks(list(reached.values())), strict=True))
        bands: dict[int, list[str]] = defaultdict(list)
        for trial_id in sorted(
            reached,
            key=lambda trial_id: (layer[trial_id], -reached[trial_id].quality, reached[trial_id].cost, trial_id),
        ):
            bands[math.floor(math.log2(reached[trial_id].cost))].append(trial_id)
        return [bands[octave] for octave in sorted(bands)]
