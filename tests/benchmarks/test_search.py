"""Our search against what one would wire by hand, on recorded trainings of data/smile, in simulated time.

recorded/smile.parquet holds trainings of the space of search_spaces/smile.yaml, all to their end: first drawn evenly
(recorded/smile.yaml), then next to the front (recorded/front.yaml); recorded/keep.py made it of both studies.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from whc.pareto import Point, hypervolume
from whc.records import StudyRecord
from whc.records.results import study_reference
from whc.search.running import study as studies
from whc.search.running.replay import RecordedTraining, TrainingTable, replay
from whc.search.sampling.scheduler import Halving, Scheduler
from whc.search.space import space

pytestmark = pytest.mark.bench

RECORDED = Path(__file__).parent / "recorded"
WORKERS, SEEDS, MINUTES = 2, 7, 20.0
EPOCHS = 12
LIMITS = {"latency_ms": 0.2}  # those of search_spaces/smile.yaml
HALVED = {"eta": 3, "rungs": 2}
GRID = np.linspace(0, MINUTES, 241)[1:]

# When a trial finished, in simulated seconds, and what it was.
Finished = list[tuple[float, Point]]


class Case:
    """The space, its table of trainings, and how a search of them is measured."""

    def __init__(self) -> None:
        self.settings, self.tree = studies.read(RECORDED / "smile.yaml")
        self.table = TrainingTable(RECORDED / "smile.parquet", self.tree)
        facts = self.table.study.model_dump(include={"data_fingerprint", "reference_ms", "host", "floor"})
        begun = studies.begin(self.settings, "bench", ["smile"], facts)
        self.study: StudyRecord = begun.model_copy(update={"limits": LIMITS})
        self.reference = study_reference(self.study, [])

    def curve(self, finished: Finished) -> NDArray[np.float64]:
        """Hypervolume at each of GRID's minutes."""
        return np.array(
            [hypervolume([point for when, point in finished if when <= 60 * at], self.reference) for at in GRID]
        )


def ours(case: Case, seed: int, **changes: Any) -> Finished:
    study = case.study.model_copy(
        update={"minutes": MINUTES, "trials": 100_000, "workers": WORKERS, "drop_slower": 4.0}
        | {"sampler": "auto", "scheduler": HALVED, "seed": seed}
        | changes
    )
    played = replay(study, case.tree, case.table)
    return [
        (one.elapsed_s, Point(one.val_score, one.latency.ms))
        for one in played
        if one.state == "finished" and one.latency and one.val_score is not None
    ]


def suggested(case: Case, study: optuna.Study) -> tuple[optuna.Trial, RecordedTraining]:
    trial = study.ask()
    space.suggest(case.tree, trial)
    return trial, case.table.nearest(trial.params)


def by_hand(case: Case, sampler: BaseSampler) -> Finished:
    """Every trial trains to its end, and only then is timed: Ray Tune with OptunaSearch and two metrics."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    busy: list[tuple[float, int, optuna.Trial, Point]] = []
    finished: Finished = []
    now = 0.0
    while now < 60 * MINUTES:
        while len(busy) < WORKERS:
            trial, found = suggested(case, study)
            seconds = found.before_s + sum(point.seconds for point in found.curve)
            point = Point(max(point.val_score for point in found.curve), found.latency.ms)
            heapq.heappush(busy, (now + seconds, trial.number, trial, point))
        now, _, trial, point = heapq.heappop(busy)
        study.tell(trial, [point.quality, point.cost])
        finished.append((now, point))
    return finished


def asha(case: Case, seed: int) -> Finished:
    """Asynchronous successive halving on F1 alone, random configurations."""
    halving = Halving(**HALVED)
    lengths, scheduler = halving.epochs_at(EPOCHS), Scheduler(halving)
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    known: dict[str, RecordedTraining] = {}
    busy: list[tuple[float, str, int]] = []
    finished: Finished = []
    now = 0.0
    while now < 60 * MINUTES:
        while len(busy) < WORKERS:
            due = scheduler.next(closing=False)
            if due is None:
                trial, found = suggested(case, study)
                name, rung = str(trial.number), 0
                known[name] = found
            else:
                name, rung = due[0], due[1] + 1
                scheduler.gone_on(*due)
            found, before = known[name], lengths[rung - 1] if rung else 0
            seconds = sum(point.seconds for point in found.curve[before : lengths[rung]])
            heapq.heappush(busy, (now + seconds + (0 if rung else found.before_s), name, rung))
        now, name, rung = heapq.heappop(busy)
        best = max(point.val_score for point in known[name].curve[: lengths[rung]])
        if rung + 1 < len(lengths):
            scheduler.reached(name, rung, Point(best, 1.0))
        else:
            finished.append((now, Point(best, known[name].latency.ms)))
    return finished


WAYS: dict[str, Callable[[Case, int], Finished]] = {
    "ours": ours,
    "ours, every trial to its end": lambda case, seed: ours(case, seed, scheduler={"rungs": 1}),
    "ours, plain TPE": lambda case, seed: ours(case, seed, sampler="tpe"),
    "ours, random": lambda case, seed: ours(case, seed, sampler="random"),
    "by hand": lambda case, seed: by_hand(case, TPESampler(seed=seed)),
    "by hand, NSGA-II": lambda case, seed: by_hand(case, NSGAIISampler(seed=seed)),
    "by hand, random": lambda case, seed: by_hand(case, RandomSampler(seed=seed)),
    "ASHA on F1, random": asha,
}


def plot(curves: dict[str, NDArray[np.float64]], path: Path) -> None:
    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5))
    for name, rows in curves.items():
        (line,) = axes.plot(GRID, np.median(rows, axis=0), label=name, lw=3 if name == "ours" else 1.5)
        axes.fill_between(GRID, rows.min(axis=0), rows.max(axis=0), alpha=0.1, color=line.get_color())
    axes.set(xlabel="simulated minutes, 2 workers", ylabel="hypervolume (median and range of seeds)")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def sooner(curve: Sequence[float], target: float) -> float:
    """Minutes until a hypervolume is reached."""
    reached = np.flatnonzero(np.asarray(curve) >= target)
    return float(GRID[reached[0]]) if len(reached) else float("inf")


def test_hypervolume_over_time() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    case = Case()
    curves = {name: np.array([case.curve(way(case, seed)) for seed in range(SEEDS)]) for name, way in WAYS.items()}
    path = Path(os.environ.get("WHC_RUNS", "runs")) / "benchmarks" / "search.png"
    plot(curves, path)
    theirs = np.median(curves["by hand"], axis=0)
    print(f"\n{len(case.table)} recorded trainings, {SEEDS} seeds, {MINUTES:.0f} simulated minutes; {path}")
    for name, rows in curves.items():
        median, half = np.median(rows, axis=0), len(GRID) // 2
        print(
            f"  {name}: {median[-1]:.4f} ({rows[:, -1].min():.4f} to {rows[:, -1].max():.4f}), "
            f"{median[-1] / theirs[-1]:.3f} of by hand ({median[half] / theirs[half]:.3f} at half time), "
            f"whose last it has after {sooner(median, theirs[-1]) / MINUTES:.2f} of the time"
        )
    assert np.median(curves["ours"], axis=0)[-1] >= theirs[-1]
