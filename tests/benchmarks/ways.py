"""Ways of searching, played in simulated time on a world of the test bed: whc's, and those that one wires by hand."""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import optuna
from bed import World
from numpy.typing import NDArray
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FixedTrial, TrialState

from whc.pareto import Point, front, hypervolume
from whc.records import StudyRecord
from whc.records.results import study_reference
from whc.search.running.replay import replay
from whc.search.space import space
from whc.trials.config import TrialConfig

WORKERS = 2


@dataclass(frozen=True)
class Trained:
    """A trial that trained to its end: after how many seconds of searching, what it drew, and what it came to."""

    seconds: float
    drawn: dict[str, Any]
    point: Point


Way = Callable[[StudyRecord, space.Section, World, int, float], list[Trained]]


def ours(**changes: Any) -> Way:
    """`whc search`, with some settings of its own."""

    def way(study: StudyRecord, tree: space.Section, world: World, seed: int, minutes: float) -> list[Trained]:
        settings = {"minutes": minutes, "trials": 100_000, "workers": WORKERS, "seed": seed, **changes}
        played = replay(study.model_copy(update=settings), tree, world)
        return [
            Trained(record.elapsed_s, record.drawn, Point(record.val_score, record.latency.ms))
            for record in played
            if record.state == "finished" and record.latency and record.val_score is not None
        ]

    return way


def by_hand(sampler_of: Callable[[int], BaseSampler], log_latency: bool = False, flat: bool = False) -> Way:
    """Ray Tune with OptunaSearch and two metrics: every trial trains to its end, and is timed then.

    Args:
        sampler_of: makes the sampler from a seed.
        log_latency: whether the sampler is told the logarithm of the latency.
        flat: whether all parameters are drawn, also those that the choices of a trial do not use: otherwise samplers
            that need the same parameters in all trials draw the others evenly.
    """

    def way(study: StudyRecord, tree: space.Section, world: World, seed: int, minutes: float) -> list[Trained]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            asked = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler_of(seed))
        busy: list[tuple[float, int, optuna.Trial, Point, dict[str, Any]]] = []
        trained: list[Trained] = []
        now = 0.0
        while now < 60 * minutes:
            while len(busy) < WORKERS:
                trial, drawn = _buildable(asked, tree, flat)
                training = world.nearest(drawn)
                seconds = training.before_s + sum(point.seconds for point in training.curve)
                point = Point(max(point.val_score for point in training.curve), training.latency.ms)
                heapq.heappush(busy, (now + seconds, trial.number, trial, point, drawn))
            now, _, trial, point, drawn = heapq.heappop(busy)
            asked.tell(trial, [point.quality, log(point.cost) if log_latency else point.cost])
            trained.append(Trained(now, drawn, point))
        return trained

    return way


def _buildable(study: optuna.Study, tree: space.Section, flat: bool) -> tuple[optuna.Trial, dict[str, Any]]:
    while True:
        trial = study.ask()
        if flat:
            for key, distribution in space.distributions(tree).items():
                trial._suggest(key, distribution)
        drawing = FixedTrial(dict(trial.params)) if flat else trial
        try:
            TrialConfig.model_validate(space.suggest(tree, drawing))
        except ValueError:
            study.tell(trial, state=TrialState.FAIL)
            continue
        return trial, dict(drawing.params)


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(seed=seed)


def _multivariate_tpe(seed: int) -> BaseSampler:
    return TPESampler(multivariate=True, seed=seed)


def _gp(seed: int) -> BaseSampler:
    return GPSampler(seed=seed)


WAYS: dict[str, Way] = {
    "whc": ours(),
    "whc, tpe": ours(sampler="tpe"),
    "whc, random": ours(sampler="random"),
    "by hand, TPE": by_hand(_tpe),
    "by hand, TPE, log latency": by_hand(_tpe, log_latency=True),
    "by hand, TPE, log latency, flat": by_hand(_multivariate_tpe, log_latency=True, flat=True),
    "by hand, GP, log latency": by_hand(_gp, log_latency=True),
    "by hand, GP, log latency, flat": by_hand(_gp, log_latency=True, flat=True),
    "by hand, NSGA-II": by_hand(lambda seed: NSGAIISampler(population_size=20, seed=seed)),
    "by hand, random": by_hand(lambda seed: RandomSampler(seed=seed)),
}


def curve(trained: list[Trained], world: World, study: StudyRecord, minutes: NDArray[np.float64]) -> list[float]:
    """The hypervolume at some minutes: of the front of scores as observed, with the scores that other seeds show.

    So a way gains nothing from seeds that happened to be good.
    """
    reference = study_reference(study, [])
    volumes = []
    for minute in minutes:
        ended = [one for one in trained if one.seconds <= 60 * minute]
        best = [ended[place] for place in front([one.point for one in ended])]
        points = [Point(world.settled_score(one.drawn), one.point.cost) for one in best]
        volumes.append(hypervolume(points, reference))
    return volumes
