"""Candidates: the study's front, exported afresh, past the parity gate, and timed with nothing else running."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from whc.data.dataset import Corpus
from whc.errors import ArtifactError
from whc.export.parity import Parity, ParityLimits
from whc.latency.bench import bench
from whc.latency.timing import Protocol
from whc.pareto import Point, front
from whc.plugins import Choice
from whc.records import Latency, LeftOut, TrialRecord
from whc.training import checkpoint
from whc.trials.artifacts import export, parity, restore, sha256
from whc.trials.config import TrialConfig


@dataclass(frozen=True)
class Candidate:
    """A trial of the front with its final artifact. `latency` is the final one, not the search's."""

    record: TrialRecord
    config: TrialConfig
    artifact: Path
    parity: Parity
    latency: Latency

    @property
    def point(self) -> Point:
        """Validation F1 and latency in ms, as selection sees them."""
        return Point(self.record.val_f1 or 0.0, self.latency.ms)


def study_front(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The finished trials that no other finished trial dominates, by the search's own latencies; fastest first."""
    finished = [record for record in records if record.state == "finished" and record.latency]
    points = [Point(record.val_f1 or 0.0, record.latency.ms) for record in finished if record.latency]
    return [finished[i] for i in front(points)]


def left_out(record: TrialRecord, reason: str, latency: Latency | None = None) -> LeftOut:
    """A candidate that will not be named, and why."""
    shown = latency or record.latency
    assert shown is not None  # noqa: S101 (a finished trial has one)
    return LeftOut(trial_id=record.trial_id, val_f1=record.val_f1 or 0.0, latency_ms=shown.ms, reason=reason)


def export_all(
    records: Sequence[TrialRecord],
    study_folder: Path,
    target: Path,
    corpus: Corpus,
    runtime: Choice,
    limits: ParityLimits,
    on_step: Callable[[str], None],
) -> tuple[dict[str, tuple[TrialRecord, TrialConfig, Path, Parity]], list[LeftOut]]:
    """Export each trial's checkpoint into `target` and hold it against the network on the whole validation split.

    Returns:
        What passed, by trial id, and what did not.
    """
    passed: dict[str, tuple[TrialRecord, TrialConfig, Path, Parity]] = {}
    failed: list[LeftOut] = []
    for record in records:
        on_step(f"export and parity of trial {record.trial_id}")
        source = study_folder / "trials" / record.trial_id / "checkpoint.pt"
        try:
            if not source.is_file() or sha256(source) != record.files.get("checkpoint.pt"):
                raise ArtifactError(
                    f"{source}: must be the file its trial wrote, got another or none; run the trial again"
                )
            saved = checkpoint.load(source)
            config, network = restore(saved, str(source))
            artifact = target / f"{record.trial_id}.onnx"
            export(config, network, saved, artifact)
            outcome = parity(config, network, artifact, corpus, runtime, limits)
        except ArtifactError as error:
            failed.append(left_out(record, str(error)))
            continue
        if outcome.passed:
            passed[record.trial_id] = (record, config, artifact, outcome)
        else:
            failed.append(left_out(record, str(outcome)))
    return passed, failed


def time_all(
    exported: Mapping[str, tuple[TrialRecord, TrialConfig, Path, Parity]],
    runtime: Choice,
    protocol: Protocol,
    reference_ms: float | None,
) -> list[Candidate]:
    """Time all exported files interleaved: the latencies that the table shows."""
    files = {name: artifact for name, (_, _, artifact, _) in exported.items()}
    latencies = bench(files, runtime, protocol, reference_ms)
    return [Candidate(*facts, latency=latencies[name]) for name, facts in exported.items()]
