"""What the search itself costs: real Ray workers and the real driver, around trials that only sleep."""

from __future__ import annotations

import io
import random
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray import cloudpickle
from ray.cluster_utils import Cluster
from rich.console import Console

from whc import records
from whc.data.dataset import Corpus
from whc.records import CurvePoint, Latency, StudyRecord, TrialRecord
from whc.search.running.driver import Driver
from whc.search.running.run import _tune
from whc.search.showing.display import Display
from whc.search.space import space
from whc.trials import cluster, dispatch
from whc.trials.dispatch import TrialJob

pytestmark = pytest.mark.bench

RAW = {
    "model": {"width": [4, 8, 16], "depth": {"int": [2, 4]}},
    "training": {"lr": {"float": [1e-3, 1e-2], "log": True}},
}
WORKERS = 2


def sleeping(seconds: float) -> Any:
    """A trial's work without the work: it sleeps, and leaves a record."""

    def trainable(parameters: dict[str, TrialJob], corpus: Corpus) -> None:
        from ray import tune

        del corpus
        time.sleep(seconds)
        assignment, config = parameters["job"].assignment, parameters["job"].config
        rng = random.Random(assignment.trial_id)
        ms, f1 = 0.02 * config.model.width, rng.uniform(0.5, 0.9)
        record = TrialRecord(
            trial_id=assignment.trial_id, study=assignment.study, drawn=assignment.drawn,
            config=config.resolved(), config_hash=config.hash,
            state="finished", curve=[CurvePoint(epoch=1, val_score=f1, seconds=seconds)], val_score=f1,
            latency=Latency(
                ms=ms, low_ms=ms, high_ms=ms, p90_ms=ms, p99_ms=ms, ratio=1, runtime="", threads=1, host=""
            ),
            seed=0, data_fingerprint="", code_version="",
        )  # fmt: skip
        records.save(record, assignment.folder / "record.json")
        tune.report({"state": "finished", "val_score": f1, "reason": ""})

    return trainable


class Noted(Display):
    """Notes the time and the driver's memory each time that a trial has ended."""

    def __init__(self) -> None:
        super().__init__(Console(file=io.StringIO()))
        self.megabytes: list[float] = []
        self.at: list[float] = []

    def trial_ended(self, record: TrialRecord) -> None:
        super().trial_ended(record)
        self.at.append(time.perf_counter())
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
    study = StudyRecord(
        study="sleep", space_name="sleep", space=RAW, data="", data_fingerprint="", recipe="", trials=trials,
        workers=WORKERS, runtime="onnxruntime_cpu", limits={"latency_ms": 1}, seed=0, reference_ms=0.1,
        floor=0.5, host="", code_version="",
    )  # fmt: skip
    noted = Noted()
    driver = Driver(study, folder, space.compile_space(RAW, "bench"), [noted])
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
    grown = noted.megabytes[-1] / noted.megabytes[499] - 1
    assert grown < 0.5
    print(f"\n{trials} trials of nothing: {wall / trials:.3f} s each; memory of the driver {grown:+.1%} after 500")


def test_nodes(tmp_path: Path, bright_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    each, seconds = 12, 3.0
    walls, paces = {}, {}
    for nodes in (1, 2, 4, 8):
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            for _ in range(nodes - 1):
                made.add_node(num_cpus=1)
            made.wait_for_nodes()
            folder = tmp_path / str(nodes)
            folder.mkdir()
            walls[nodes], noted = searched(each * nodes, seconds, folder, bright_corpus, monkeypatch, made.address)
        finally:
            made.shutdown()
        # Once each node has ended a trial: until then workers start, for which all share this machine's cores.
        paces[nodes] = (each - 1) * nodes / (noted.at[-1] - noted.at[nodes - 1])
    print(f"\n{each} trials of {seconds:.0f} s for each node of one core:")
    for nodes, pace in paces.items():
        linear = pace / (nodes * paces[1])
        print(f"  {nodes} nodes: {pace:.3f} trials/s, {linear:.3f} of linear; {walls[nodes]:.0f} s with the start")
    assert min(pace / nodes for nodes, pace in paces.items()) > 0.5 / seconds
