"""What the search itself costs: real Ray workers and the real driver, around trials that only sleep."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import psutil
import pytest
from bed import SPACES
from ray import cloudpickle
from ray.cluster_utils import Cluster
from rich.console import Console
from threadpoolctl import threadpool_limits

from whc import records
from whc.data.dataset import Corpus
from whc.records import CurvePoint, Latency, StudyRecord, TrialRecord
from whc.records.studies import SamplerName
from whc.search.running import study as studies
from whc.search.running.driver import Driver
from whc.search.running.run import _tune
from whc.search.sampling.limits import samples
from whc.search.sampling.searcher import Sampler
from whc.search.showing.display import Display
from whc.search.space import space
from whc.trials import cluster, dispatch
from whc.trials.config import TrialConfig
from whc.trials.dispatch import TrialJob

pytestmark = pytest.mark.bench

WORKERS = 2
LABELS = ("no", "yes")
AFTER = (100, 500, 2000)  # trials
SUGGESTIONS = 15
WORKED = "worked.json"  # in a trial's folder: which worker had it, and when


def begun(trials: int) -> tuple[StudyRecord, space.Section]:
    """A study of the space of smiles, without its limit of minutes."""
    settings, tree = studies.read(SPACES / "smile.yaml")
    facts = {"data_fingerprint": "", "reference_ms": 0.024, "host": "", "floor": 0.46, "labels": list(LABELS)}
    changes = {"trials": trials, "minutes": None, "workers": WORKERS}
    return studies.begin(settings, "sleep", ["bench"], facts).model_copy(update=changes), tree


def finished(trial_id: str, drawn: dict[str, Any], config: TrialConfig) -> TrialRecord:
    """A trial that finished, with some score."""
    ms, score = 0.01 * config.model.width, random.Random(trial_id).uniform(0.5, 0.9)
    return TrialRecord(
        trial_id=trial_id, study="sleep", drawn=drawn, config=config.resolved(), config_hash=config.hash,
        state="finished", curve=[CurvePoint(epoch=1, val_score=score, seconds=5.0)], val_score=score,
        latency=Latency(ms=ms, low_ms=ms, high_ms=ms, p90_ms=ms, p99_ms=ms, ratio=1, runtime="", threads=1, host=""),
        seed=0, data_fingerprint="", code_version="",
    )  # fmt: skip


def sleeping(seconds: float) -> Any:
    """A trial's work without the work: it sleeps, and leaves a record."""

    def trainable(parameters: dict[str, TrialJob], corpus: Corpus) -> None:
        from ray import tune

        del corpus
        began = time.time()
        time.sleep(seconds)
        assignment, config = parameters["job"].assignment, parameters["job"].config
        record = finished(assignment.trial_id, assignment.drawn, config)
        records.save(record, assignment.folder / "record.json")
        worked = {"worker": os.getpid(), "began": began, "ended": time.time()}
        (assignment.folder / WORKED).write_text(json.dumps(worked))
        tune.report({"state": "finished", "val_score": record.val_score, "reason": ""})

    return trainable


class Noted(Display):
    """Notes the driver's memory each time that a trial has ended."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.megabytes: list[float] = []

    def trial_ended(self, record: TrialRecord) -> None:
        super().trial_ended(record)
        self.megabytes.append(psutil.Process().memory_info().rss / 2**20)


def searched(
    trials: int,
    seconds: float,
    folder: Path,
    corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
    address: str | None = None,
) -> tuple[float, Noted]:
    """Seconds from the first trial to the end of the last one, the start of Ray left out, and what was noted."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(dispatch, "trainable", sleeping(seconds))
    study, tree = begun(trials)
    noted = Noted()
    driver = Driver(study, folder, tree, [noted])
    driver.start()
    with cluster.joined(address) if address else cluster.started(WORKERS, 1 << 20) as cores:
        start = time.perf_counter()
        _tune(driver, corpus, cores or WORKERS)
        wall = time.perf_counter() - start
    assert len(driver.records) == trials
    return wall, noted


def test_trials_of_a_second(tmp_path: Path, bright_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    trials, seconds = 500, 1.0
    wall, _ = searched(trials, seconds, tmp_path, bright_corpus, monkeypatch)
    ideal = trials * seconds / WORKERS
    assert ideal < wall < 2 * ideal
    print(f"\n{trials} trials of {seconds:.0f} s on {WORKERS} workers: {wall:.0f} s, {wall / ideal:.3f} of the ideal")


def test_trials_of_nothing(tmp_path: Path, bright_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = 2000
    wall, noted = searched(trials, 0.0, tmp_path, bright_corpus, monkeypatch)
    first, last = noted.megabytes[499], noted.megabytes[-1]
    grown = f"memory of the driver {first:.0f} MB after 500, {last:.0f} MB at the end, {last / first - 1:+.1%}"
    print(f"\n{trials} trials of nothing: {wall / trials:.3f} s each; {grown}")
    assert last < 1.5 * first


def shares_of_waiting(folder: Path) -> list[float]:
    """For each worker, the share of the time between its first trial and its last that it had none."""
    worked = pd.DataFrame([json.loads(path.read_text()) for path in folder.glob(f"trials/*/{WORKED}")])
    shares = []
    for _, own in worked.groupby("worker"):
        busy, whole = (own.ended - own.began).sum(), own.ended.max() - own.began.min()
        shares.append(1 - float(busy / whole))
    return shares


def test_nodes(tmp_path: Path, bright_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    each, seconds = 12, 5.0
    waiting = {}
    print(
        f"\n{each} trials of {seconds:.0f} s for each node, which has one worker; the share of time that workers wait:"
    )
    for nodes in (1, 2, 4, 8):
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            for _ in range(nodes - 1):
                made.add_node(num_cpus=1)
            made.wait_for_nodes()
            folder = tmp_path / str(nodes)
            folder.mkdir()
            wall, _ = searched(each * nodes, seconds, folder, bright_corpus, monkeypatch, made.address)
        finally:
            made.shutdown()
        waiting[nodes] = shares_of_waiting(folder)
        shown = f"{np.mean(waiting[nodes]):.3f}, at most {max(waiting[nodes]):.3f}"
        print(f"  {nodes} nodes: {shown}; {wall:.0f} s with the start of the workers, {each * seconds:.0f} without")
    assert max(map(max, waiting.values())) < 0.5


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_time_of_a_suggestion(name: str, tmp_path: Path) -> None:
    study, tree = begun(10 * max(AFTER))
    study = study.model_copy(update={"sampler": name})
    ended = [
        finished(f"{number:05d}", sample.drawn, sample.config)
        for number, sample in enumerate(islice(samples(tree, LABELS, seed=0), max(AFTER)))
    ]
    medians = {}
    for count in AFTER:
        sampler = Sampler(tree, study, tmp_path / f"{count}.journal")
        sampler.start(ended[:count])
        seconds = []
        for number in range(count, count + SUGGESTIONS):
            trial_id = f"{number:05d}"
            start = time.perf_counter()
            with threadpool_limits(1):  # as the driver
                config, parameters = sampler.ask(trial_id)
            seconds.append(time.perf_counter() - start)
            sampler.tell(finished(trial_id, parameters, config))
        medians[count] = np.median(seconds)
    shown = ", ".join(f"{1000 * median:.0f} ms after {count}" for count, median in medians.items())
    print(f"\na suggestion of {name}: {shown} trials")
    assert medians[2000] < 5 * medians[100]  # 20 times the trials: it must not grow with them
