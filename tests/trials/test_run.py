"""A trial from configuration to record, for real."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

from whc import records
from whc.data.dataset import Corpus
from whc.export.parity import Parity, ParityLimits
from whc.latency.bench import BenchResult
from whc.records import CurvePoint, TrialRecord, sha256
from whc.trials import artifacts, quiet_slot
from whc.trials import run as runs
from whc.trials.config import TrialConfig
from whc.trials.run import Assignment, Limits, run


def test_a_finished_trial_leaves_record_checkpoint_and_model(
    config: TrialConfig, assignment: Assignment, bright_corpus: Corpus
) -> None:
    points: list[CurvePoint] = []
    record = run(config, bright_corpus, assignment, points.append)
    assert record.state == "finished"
    assert record == records.load(TrialRecord, assignment.folder / "record.json")
    assert record.curve == points
    assert [point.epoch for point in points] == [1, 2, 3, 4, 5, 6]
    assert record.val_score == max(point.val_score for point in points) == 1.0
    assert record.latency is not None
    assert 0 < record.latency.low_ms <= record.latency.ms <= record.latency.high_ms
    assert record.files == {name: sha256(assignment.folder / name) for name in ("checkpoint.pt", "model.onnx")}
    assert record.size_bytes == (assignment.folder / "model.onnx").stat().st_size
    assert record.peak_memory_bytes == artifacts.peak_memory_bytes(config, 1)
    assert TrialConfig.model_validate(record.config) == config
    assert record.drawn == {"model.width": 4}
    assert sorted(path.name for path in assignment.folder.iterdir()) == ["checkpoint.pt", "model.onnx", "record.json"]


@pytest.mark.parametrize(
    "limits", [Limits(latency_ms=1e-6), Limits(size_bytes=10), Limits(params=3), Limits(peak_memory_bytes=1000)]
)
def test_what_is_over_a_limit_never_trains(
    config: TrialConfig, assignment: Assignment, bright_corpus: Corpus, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "trainer", lambda *_: pytest.fail("it trained"))
    record = run(config, bright_corpus, replace(assignment, limits=limits), lambda _: None)
    assert record.state == "infeasible"
    (name,) = limits.model_dump(exclude_none=True)
    assert name in record.reason
    assert "over its limit" in record.reason
    assert record.latency is not None
    assert record.curve == []
    assert record.files == {}


def test_a_failed_training_is_recorded_with_its_reason(
    config: TrialConfig, assignment: Assignment, bright_corpus: Corpus
) -> None:
    diverging = config.model_copy(update={"training": config.training.model_copy(update={"lr": 1e30})})
    record = run(diverging, bright_corpus, assignment, lambda _: None)
    assert record.state == "failed"
    assert "loss must be a number" in record.reason
    assert record.latency is not None


def test_a_failed_parity_gate_fails_the_trial(
    config: TrialConfig, assignment: Assignment, bright_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric, limits = config.task_kind.metric, ParityLimits(max_difference=1e-4)
    off = Parity(rows=24, max_difference=0.3, changed=2, score_difference=0.1, limits=limits, metric=metric)
    monkeypatch.setattr(runs, "parity", lambda *_: (off, None))
    record = run(config, bright_corpus, assignment, lambda _: None)
    assert record.state == "failed"
    assert "2 flipped decisions" in record.reason


def test_an_architecture_is_exported_and_measured_once_before_training(
    config: TrialConfig, assignment: Assignment, bright_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = replace(assignment, limits=Limits(latency_ms=1e-9))
    first = run(config, bright_corpus, once, lambda _: None)
    monkeypatch.setattr(quiet_slot, "bench", lambda *_: pytest.fail("it measured again"))
    monkeypatch.setattr(runs, "export", lambda *_: pytest.fail("it exported again"))
    other_training = config.model_copy(update={"training": config.training.model_copy(update={"lr": 0.01})})
    second = run(other_training, bright_corpus, once, lambda _: None)
    assert (second.state, first.state) == ("infeasible", "infeasible")
    assert (second.latency, second.size_bytes, second.params) == (first.latency, first.size_bytes, first.params)


def test_windows_that_the_data_cannot_give_fail_the_trial(
    config: TrialConfig, assignment: Assignment, bright_corpus: Corpus
) -> None:
    model = {**config.model.model_dump(mode="json"), "sequence": {"frame_stack": {"frames": 9}}}
    long = TrialConfig.model_validate({**config.resolved(), "model": model})
    record = run(long, bright_corpus, assignment, lambda _: None)
    assert record.state == "failed"
    assert "at least 9 frames" in record.reason


def test_the_network_timed_has_the_graph_of_the_network_trained(
    config: TrialConfig, assignment: Assignment, bright_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fresh biases of 0 would be simplified away, and the latency of the trained file understated."""
    timed: list[Counter[str]] = []
    real = quiet_slot.bench

    def spy(files: dict[str, Path], *rest: object) -> BenchResult:
        timed.extend(map(operators, files.values()))
        return real(files, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(quiet_slot, "bench", spy)
    model = {**config.model.model_dump(mode="json"), "backbone": "convnext", "head": "avgmax_mlp", "depth": 3}
    convnext = TrialConfig.model_validate({**config.resolved(), "model": model})
    assert run(convnext, bright_corpus, assignment, lambda _: None).state == "finished"
    # A busy machine has the network timed a second time.
    assert timed and all(graph == operators(assignment.folder / "model.onnx") for graph in timed)


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_a_record_tells_after_how_long_a_search_it_ended(
    config: TrialConfig, assignment: Assignment, bright_corpus: Corpus
) -> None:
    record = run(config, bright_corpus, replace(assignment, began=time.time() - 100), lambda _: None)
    assert 100 < record.elapsed_s < 200


class _TooLarge:
    """A training that asks for more memory than the GPU has, which only a GPU can tell."""

    def __init__(self, *_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_out_of_memory_costs_a_worker_once_and_is_then_infeasible(
    config: TrialConfig, assignment: Assignment, bright_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "trainer", _TooLarge)
    with pytest.raises(torch.OutOfMemoryError):
        run(config, bright_corpus, assignment, lambda _: None)
    assert not (assignment.folder / "record.json").exists()
    record = run(config, bright_corpus, replace(assignment, is_retry=True), lambda _: None)
    assert (record.state, record.reason) == ("infeasible", runs.OUT_OF_MEMORY)
    assert record == records.load(TrialRecord, assignment.folder / "record.json")


def test_a_bug_is_not_taken_for_want_of_memory(
    config: TrialConfig, assignment: Assignment, bright_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "trainer", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        run(config, bright_corpus, replace(assignment, is_retry=True), lambda _: None)


def test_memory_of_the_machine_counts_too() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 46)
    assert runs._out_of_memory(error.value)
