"""One trial, from configuration to record, as the search's workers run it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import nn

from whc import records
from whc.config import Settings
from whc.data.dataset import Corpus
from whc.errors import WhcError
from whc.export.parity import ParityLimits
from whc.latency.timer import Timer, place_of
from whc.plugins import Choice
from whc.records import CurvePoint, TrialRecord
from whc.training import checkpoint
from whc.training.checkpoint import Checkpoint
from whc.trials import quiet_slot
from whc.trials.artifacts import export, parity, peak_memory_bytes, restore, to_checkpoint, untrained
from whc.trials.config import TrialConfig
from whc.trials.learning import trainer
from whc.trials.storage import RECORD_FILE, Storage

Report = Callable[[CurvePoint], None]
OUT_OF_MEMORY = "out of memory, twice"


class Limits(Settings):
    """Limits that a trial is checked against before training; None: no limit.

    `size_bytes` is that of the exported file, `params` counts weights, `peak_memory_bytes` is estimated.
    """

    latency_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    size_bytes: int | None = Field(None, gt=0)
    params: int | None = Field(None, gt=0)
    peak_memory_bytes: int | None = Field(None, gt=0)

    def exceeded(self, values: Mapping[str, float]) -> dict[str, float]:
        """The limits that are exceeded, each with its excess: value / limit - 1, above 0.

        Args:
            values: by the names of the limits.
        """
        limits = self.model_dump(exclude_none=True)
        return {name: values[name] / limit - 1 for name, limit in limits.items() if values[name] > limit}


@dataclass(frozen=True)
class Assignment:
    """Where and under what rules a trial runs.

    `folder` takes record.json, checkpoint.pt and model.onnx. `cache` holds latencies. `reference_ms` is the reference
    network's milliseconds on its host when idle. `drawn` is the sampler's values, for the record. `began` is the start
    of the search in seconds of the system's clock, moved forward by its pauses. `is_retry` is set if a worker died in
    this trial. `storage` is where the driver reads the folder's files, None if the driver shares the folder. `timer` is
    the device that measures latency, None for this machine; parity is always checked on this machine's `runtime`.
    """

    trial_id: str
    study: str
    folder: Path
    limits: Limits
    runtime: Choice
    reference_ms: float
    cache: Path
    drawn: dict[str, Any]
    began: float | None = None
    is_retry: bool = False
    storage: Storage | None = None
    timer: Timer | None = None


def run(config: TrialConfig, corpus: Corpus, assignment: Assignment, report: Report) -> TrialRecord:
    """Run a trial to its end, and put its record in place.

    A configuration over a limit ends before training as `infeasible`; one that cannot train or whose export fails its
    parity gate ends as `failed`, with the reason. Out of memory raises the first time; a retry ends as `infeasible`.

    Args:
        config: what to train.
        corpus: decoded data, with images at the configuration's size.
        assignment: where and under what rules.
        report: called with each epoch's validation score.
    """
    folder = assignment.folder
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {}
    try:
        state, reason = _attempt(config, corpus, assignment, report, facts)
    except WhcError as error:
        state, reason = "failed", str(error)
    except (MemoryError, RuntimeError) as error:
        if not (assignment.is_retry and _out_of_memory(error)):
            raise
        state, reason = "infeasible", OUT_OF_MEMORY
    names = [name for name in ("checkpoint.pt", "model.onnx") if (folder / name).is_file()]
    record = TrialRecord(
        trial_id=assignment.trial_id,
        study=assignment.study,
        config=config.resolved(),
        config_hash=config.hash,
        drawn=assignment.drawn,
        state=state,
        reason=reason,
        elapsed_s=0.0 if assignment.began is None else time.time() - assignment.began,
        seed=config.training.seed,
        data_fingerprint=corpus.fingerprint,
        code_version=records.code_version(),
        files={name: records.sha256(folder / name) for name in names},
        **facts,
    )
    records.save(record, folder / RECORD_FILE)
    return record


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _as_if_trained(network: nn.Module) -> nn.Module:
    """Add noise to every weight: initial biases of 0 and scales of 1 would be simplified away, unlike trained ones."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    return network


def _attempt(
    config: TrialConfig, corpus: Corpus, assignment: Assignment, report: Report, facts: dict[str, Any]
) -> tuple[records.State, str]:
    """All steps from latency to parity; `facts` holds the results so far, also when a step raises."""
    folder = assignment.folder
    exceeded = _before_training(config, corpus, assignment, facts)
    if exceeded:
        return "infeasible", ", ".join(f"{name} {over:+.0%} over its limit" for name, over in exceeded.items())
    training = trainer(config, corpus)
    facts["curve"] = training.curve
    epochs = training.epochs()
    while len(training.curve) < config.training.epochs:
        with quiet_slot.training_turn(assignment.runtime):
            point = next(epochs).point
        report(point)
    best = training.best
    assert best is not None  # noqa: S101 (there is at least one epoch)
    facts["val_score"] = best.val_score
    saved = to_checkpoint(config, corpus, best, assignment.study, assignment.trial_id)
    checkpoint.save(saved, folder / "checkpoint.pt")
    settled, network = restore(saved, "checkpoint.pt")
    artifact = folder / "model.onnx"
    export(settled, network, saved, artifact)
    facts["size_bytes"] = artifact.stat().st_size
    outcome, _ = parity(settled, network, artifact, corpus, assignment.runtime, ParityLimits())
    return ("finished", "") if outcome.passed else ("failed", str(outcome))


def _before_training(
    config: TrialConfig, corpus: Corpus, assignment: Assignment, facts: dict[str, Any]
) -> dict[str, float]:
    """Fill in the facts that need no training; returns the limits that are exceeded, as `Limits.exceeded` does."""
    start = time.perf_counter()
    artifact, outputs = assignment.folder / "model.onnx", config.task_for(corpus.labels).outputs
    network = untrained(config, corpus.labels)
    facts["params"] = sum(parameter.numel() for parameter in network.parameters())

    def exported() -> Path:
        labels, frame_rate = list(corpus.labels), corpus.frame_rate
        blank = Checkpoint(config.resolved(), {}, labels, frame_rate, corpus.fingerprint, "", 0, 0.0)
        export(config, _as_if_trained(network), blank, artifact)
        return artifact

    runtime, timer = assignment.runtime, assignment.timer
    key = quiet_slot.cache_key(config, corpus.labels, place_of(runtime, timer))
    footprint = quiet_slot.measured(key, exported, runtime, assignment.reference_ms, assignment.cache, timer)
    facts["latency"], facts["size_bytes"] = footprint.latency, footprint.size_bytes
    facts["peak_memory_bytes"] = peak_memory_bytes(config, outputs)
    facts["before_s"] = time.perf_counter() - start
    artifact.unlink(missing_ok=True)
    return assignment.limits.exceeded({**facts, "latency_ms": footprint.latency.ms})
