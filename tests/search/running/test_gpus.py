"""Trainings that share a GPU: real Ray workers and its book-keeping of GPUs, around trainings that only sleep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray import cloudpickle
from ray.cluster_utils import Cluster

from whc import records
from whc.data.dataset import Corpus
from whc.records import CurvePoint, Latency, StudyRecord, TrialRecord
from whc.search.running.driver import Driver
from whc.search.running.run import _tune
from whc.search.space import space
from whc.trials import cluster, dispatch
from whc.trials.dispatch import TrialJob
from whc.trials.packing import CONTEXT_BYTES

pytestmark = pytest.mark.slow

ALONE = "WHC_TEST_ALONE"


def sleeping(parameters: dict[str, TrialJob], corpus: Corpus) -> None:
    """Notes when it ran and on which GPU; the trial 00001 runs out of memory until it has a GPU to itself."""
    import ray
    from ray import tune

    job = parameters["job"]
    assignment = job.assignment
    assignment.folder.mkdir(parents=True, exist_ok=True)
    start = time.time()
    time.sleep(2.5)  # longer than the next one takes to start on a busy machine
    note = {"start": start, "end": time.time(), "share": job.gpu, "gpus": ray.get_gpu_ids()}
    (assignment.folder.parent / f"{assignment.trial_id}-{start}.json").write_text(json.dumps(note))
    if assignment.trial_id == "00001" and not assignment.is_retry:
        raise RuntimeError("CUDA out of memory")
    fixed = {"p90_ms": 1, "p99_ms": 1, "runtime": "", "threads": 1, "host": "", "ratio": 1}
    record = TrialRecord(
        trial_id=assignment.trial_id, study=assignment.study,
        config=job.config.resolved(), config_hash=job.config.hash,
        drawn=assignment.drawn, state="finished", curve=[CurvePoint(epoch=1, val_score=0.6, seconds=1)], val_score=0.6,
        latency=Latency(ms=0.1, low_ms=0.1, high_ms=0.1, **fixed), seed=0, data_fingerprint="", code_version="",
    )  # fmt: skip
    records.save(record, assignment.folder / "record.json")
    tune.report({"state": "finished", "val_score": 0.6, "reason": ""})


@pytest.fixture
def address() -> Iterator[str]:
    """A node of four cores that says it has a GPU."""
    node = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 1, "include_dashboard": False})
    yield node.address
    node.shutdown()


def test_as_many_share_a_gpu_as_fit() -> None:
    """In a process of its own: Ray keeps the token of the first cluster that a process has been in."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", f"{__file__}::test_in_a_process_of_its_own"]
    environment = os.environ | {ALONE: "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(ALONE not in os.environ, reason="run by the test above")
def test_in_a_process_of_its_own(
    address: str, study: StudyRecord, tree: space.Section, bright_corpus: Corpus, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(dispatch, "trainable", sleeping)
    monkeypatch.setattr(dispatch, "_gpu_bytes", lambda: 3 * CONTEXT_BYTES)  # room for two, with what they train
    both = {**bright_corpus.images, (24, 16): bright_corpus.images[16, 16]}
    corpus = bright_corpus.__class__(**{**vars(bright_corpus), "images": both})
    searched = study.model_copy(update={"trials": 6})
    driver = Driver(searched, tmp_path, tree, [])
    driver.start()
    with cluster.joined(address) as cores:
        assert cores == 4
        _tune(driver, corpus, cores)
    assert sorted(driver.records) == [f"{number:05d}" for number in range(6)]
    notes = {path.name: json.loads(path.read_text()) for path in (tmp_path / "trials").glob("0*.json")}
    assert len(notes) == 7
    assert {gpu for note in notes.values() for gpu in note["gpus"]} == {0}
    crowds = [
        sum(other["share"] for other in notes.values() if other["start"] <= one["start"] < other["end"])
        for one in notes.values()
    ]
    assert max(crowds) <= 1 + 1e-9
    assert max(sum(o["start"] <= n["start"] < o["end"] for o in notes.values()) for n in notes.values()) == 2
    again = [note["share"] for name, note in sorted(notes.items()) if name.startswith("00001")]
    assert again[0] < 1
    assert again[1] == 1
