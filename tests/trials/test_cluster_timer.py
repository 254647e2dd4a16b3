"""Timing on a node of a real Ray cluster that is there for it."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray import cloudpickle
from ray.cluster_utils import Cluster

from whc.errors import ArtifactError
from whc.latency import reference
from whc.latency.bench import bench, session
from whc.latency.host import host
from whc.latency.timing import Protocol
from whc.plugins import ChoiceOf
from whc.trials import cluster, cluster_timer
from whc.trials.cluster_timer import ClusterTimer

pytestmark = pytest.mark.slow

ALONE = "WHC_TEST_ALONE"
RUNTIME = ChoiceOf("runtimes").parse({"onnxruntime_cpu": {"threads": 2}})
QUICK = Protocol(block_ms=0.2, warmup_ms=1, min_rounds=5, max_rounds=5)


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A head with one core, which times nothing."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def trial(path: Path, timer: ClusterTimer) -> tuple[str, str, int]:
    """What a trial learns of its latency."""
    latency = bench({"trial": path}, RUNTIME, QUICK, timer=timer)["trial"]
    return latency.host, latency.runtime, latency.threads


def test_a_node_times_what_trials_export() -> None:
    """In a process of its own: Ray keeps the token of the first cluster that a process has been in."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", f"{__file__}::test_in_a_process_of_its_own"]
    environment = os.environ | {ALONE: "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(ALONE not in os.environ, reason="run by the test above")
def test_in_a_process_of_its_own(
    nodes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_litert: Callable[..., Path]
) -> None:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(cluster_timer, "POLL_S", 0.2)
    file = reference.write(tmp_path / "file.onnx")
    with cluster.joined(nodes.address):
        assert cluster_timer.find(RUNTIME) is None
        node = nodes.add_node(num_cpus=0, resources={"whc_timer": 1})
        timer = cluster_timer.find(RUNTIME)
        assert timer
        # As Ray Tune runs a trial: the tasks that it starts would be of its group.
        group = ray.util.placement_group([{"CPU": 1}])
        strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
        call = ray.remote(num_cpus=1, scheduling_strategy=strategy)(trial).remote(file, timer)
        assert ray.get(call, timeout=120) == (host(), "onnxruntime_cpu", 2)
        (small,) = session([write_litert(tmp_path / "small.tflite", {}, (6, 4))], RUNTIME, QUICK, timer=timer).files
        assert (small.latency.runtime, small.ram_bytes is None) == ("litert", False)
        (tmp_path / "text.onnx").write_text("no network")
        with pytest.raises(ArtifactError, match="must be an ONNX file"):
            trial(tmp_path / "text.onnx", timer)

        nodes.remove_node(node)
        told, results = queue.SimpleQueue[str](), queue.SimpleQueue[tuple[str, str, int]]()
        waiting = timer.telling(told.put)
        thread = threading.Thread(target=lambda: results.put(trial(file, waiting)))
        thread.start()
        assert told.get(timeout=60) == "no node of the cluster has the resource whc_timer"
        nodes.add_node(num_cpus=0, resources={"whc_timer": 1})
        assert told.get(timeout=60) == ""
        assert results.get(timeout=120) == (host(), "onnxruntime_cpu", 2)
        thread.join()
