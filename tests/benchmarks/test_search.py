"""Our search against those that one wires by hand, on the test beds, in simulated time: paired worlds, a sign test.

A change of a sampler is adopted when its hypervolume is ahead here with p < 0.05 in 16 worlds or more, or when it makes
the code simpler and is not behind with p < 0.05. A run writes its curves to runs/benchmarks/search-BED.json. With
$WHC_BEFORE, the folder of those of another version, it compares itself with them. $WHC_WORLDS (16) and $WHC_MINUTES
(20) say how much is played, and $WHC_WAYS (all), divided by semicolons, which ways.
"""

from __future__ import annotations

import functools
import json
import os
import warnings
from multiprocessing import get_context
from pathlib import Path

import matplotlib as mpl
import numpy as np
import optuna
import pytest
from bed import BEDS, Bed, World
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm
from ways import WAYS, WORKERS, curve

from whc.records import StudyRecord

pytestmark = pytest.mark.bench

Array = NDArray[np.float64]

OURS = "whc"
WORLDS = int(os.environ.get("WHC_WORLDS", "16"))
MINUTES = float(os.environ.get("WHC_MINUTES", "20"))
NAMES = os.environ["WHC_WAYS"].split(";") if "WHC_WAYS" in os.environ else list(WAYS)
GRID = np.linspace(0, MINUTES, 81)[1:]
SHOWN = {f"{MINUTES * share:g} min": round(80 * share) - 1 for share in (0.4, 1.0)}
FIRST_SEED = 1000  # of searches; those of worlds begin at 0


@functools.cache
def opened(name: str) -> tuple[StudyRecord, Bed]:
    """A bed takes half a minute to make: each process makes it once."""
    return BEDS[name].opened()


def played(job: tuple[str, int, str]) -> tuple[str, list[float], int]:
    """One way of searching in one world: its name, its hypervolume over time, and how many trials finished."""
    name, number, way = job
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", ConvergenceWarning)  # of the bed's process: a scale at the end of its range
    study, bed = opened(name)
    world = World(bed, number)
    trained = WAYS[way](study, bed.tree, world, FIRST_SEED + number, MINUTES)
    return way, curve(trained, world, study, GRID), sum(one.seconds <= 60 * MINUTES for one in trained)


def ahead(ours: Array, theirs: Array) -> str:
    """In how many worlds one is ahead of another at a time, and how likely that is by chance."""
    wins, losses = int((ours > theirs).sum()), int((ours < theirs).sum())
    chance = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    return f"ahead in {wins} of {wins + losses} (p {chance:.3f})"


def sooner(ours: Array, theirs: Array) -> float:
    """The median share of the time after which one has the other's last hypervolume."""
    reached = [
        np.append(np.flatnonzero(row >= last), len(row))[0] for row, last in zip(ours, theirs[:, -1], strict=True)
    ]
    return float(np.median(reached) + 1) / ours.shape[1]


def plot(curves: dict[str, Array], path: Path) -> None:
    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5))
    for name, rows in curves.items():
        (line,) = axes.plot(GRID, np.median(rows, axis=0), label=name, lw=3 if name == OURS else 1.5)
        axes.fill_between(GRID, *np.quantile(rows, [0.25, 0.75], axis=0), alpha=0.1, color=line.get_color())
    axes.set(xlabel=f"simulated minutes, {WORKERS} workers", ylabel="hypervolume (median, and middle half of worlds)")
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


@pytest.mark.parametrize("name", BEDS)
def test_hypervolume_over_time(name: str) -> None:
    jobs = [(name, number, way) for way in NAMES for number in range(WORLDS)]
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        ended = list(tqdm(pool.imap(played, jobs), total=len(jobs)))
    curves = {way: np.array([volumes for one, volumes, _ in ended if one == way]) for way in NAMES}
    folder = Path(os.environ.get("WHC_RUNS", "runs")) / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"search-{name}.json").write_text(json.dumps({way: rows.tolist() for way, rows in curves.items()}))
    plot(curves, folder / f"search-{name}.png")
    ours = curves[OURS]
    print(f"\n{name}: {WORLDS} worlds, {MINUTES:g} simulated minutes, {WORKERS} workers; hypervolume, {OURS} beside it")
    for way, rows in curves.items():
        count = np.mean([finished for one, _, finished in ended if one == way])
        shown = [
            f"{when} {np.median(rows[:, place]):.3f} "
            f"({np.median(ours[:, place] / rows[:, place]):.3f} times that, {ahead(ours[:, place], rows[:, place])})"
            for when, place in SHOWN.items()
        ]
        print(f"  {way}: {'; '.join(shown)}; its last after {sooner(ours, rows):.2f} of the time; {count:.0f} finished")
    if "WHC_BEFORE" in os.environ:
        before = json.loads((Path(os.environ["WHC_BEFORE"]) / f"search-{name}.json").read_text())
        for way in NAMES:
            rows = np.array(before[way])
            shown = [f"{when} {ahead(curves[way][:, place], rows[:, place])}" for when, place in SHOWN.items()]
            print(f"  {way}, beside {os.environ['WHC_BEFORE']}: {'; '.join(shown)}")
    theirs = [rows for way, rows in curves.items() if way.startswith("by hand")]
    half = SHOWN[next(iter(SHOWN))]
    assert all(np.median(ours[:, half]) >= np.median(rows[:, half]) for rows in theirs)
