"""Candidates: the study's front, exported afresh, past the parity gate, scored on the same rows, and timed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from whc.data.dataset import Corpus
from whc.data.row_labels import RowLabels
from whc.data.windows import windows
from whc.errors import ArtifactError, problem
from whc.export.parity import Parity, ParityLimits
from whc.factory.evidence import Evidence
from whc.factory.refit import ARTIFACT, CHECKPOINT, Fitted, is_whole
from whc.pareto import Point
from whc.plugins import Choice
from whc.records import SCHEMA, Latency, LatencySession, LeftOut, TrialRecord, sha256
from whc.runtimes import onnx_file
from whc.tasks import Condition, Outputs, Task
from whc.training import checkpoint
from whc.trials.artifacts import export, parity, restore
from whc.trials.config import TrialConfig
from whc.words import quantity


@dataclass(frozen=True)
class Exported:
    """A candidate's final artifact, how it compares with the network it came from, and its outputs on validation."""

    fitted: Fitted
    config: TrialConfig
    artifact: Path
    parity: Parity
    val_outputs: Outputs

    @property
    def trial_id(self) -> str:
        """Of the search's trial."""
        return self.fitted.trial.trial_id


@dataclass(frozen=True)
class Candidate:
    """What selection sees: `val_score` and `evidence` are of the artifact, on the rows that all decide on."""

    exported: Exported
    evidence: Evidence
    val_score: float
    latency: Latency

    @property
    def point(self) -> Point:
        """Validation score and latency in ms."""
        return Point(self.val_score, self.latency.ms)


def left_out(
    trial: TrialRecord, reason: str, val_score: float | None = None, latency: Latency | None = None
) -> LeftOut:
    """A candidate that will not be named, and why; with the search's own numbers where there are no better ones."""
    shown = latency or trial.latency
    assert shown is not None  # noqa: S101 (a finished trial has one)
    score = trial.val_score or 0.0 if val_score is None else val_score
    return LeftOut(trial_id=trial.trial_id, val_score=score, latency_ms=shown.ms, reason=reason)


def export_all(
    fitted: Sequence[Fitted],
    target: Path,
    corpus: Corpus,
    runtime: Choice,
    limits: ParityLimits,
    on_step: Callable[[str], None],
) -> tuple[list[Exported], list[LeftOut]]:
    """Export each checkpoint into `target` and hold it against its network on the whole validation split.

    Returns:
        What passed, and what did not.
    """
    passed: list[Exported] = []
    failed: list[LeftOut] = []
    for one in fitted:
        on_step(f"export and parity of trial {one.record.trial_id}")
        source = one.folder / CHECKPOINT
        try:
            if not is_whole(one.record, one.folder, CHECKPOINT):
                rule = "must be the file its trial wrote, got another or none"
                raise ArtifactError(f"{source}: {rule}; let the recipe's refit train it again")
            saved = checkpoint.load(source)
            config, network = restore(saved, str(source))
            artifact = target / f"{one.record.trial_id}.onnx"
            if is_whole(one.record, one.folder, ARTIFACT) and _is_current(one.folder / ARTIFACT):
                shutil.copyfile(one.folder / ARTIFACT, artifact)
            else:
                export(config, network, saved, artifact)
            outcome, outputs = parity(config, network, artifact, corpus, runtime, limits)
        except ArtifactError as error:
            failed.append(left_out(one.trial, str(error)))
            continue
        if outcome.passed:
            passed.append(Exported(one, config, artifact, outcome, outputs))
        else:
            failed.append(left_out(one.trial, str(outcome)))
    return passed, failed


def _is_current(artifact: Path) -> bool:
    """Whether an exported file says of itself what files of today say."""
    file, _ = onnx_file.read(artifact)
    return file.metadata().schema_version == SCHEMA


def score_all(exported: Sequence[Exported], corpus: Corpus) -> list[Evidence]:
    """What each exported file is worth on the validation rows that all of them decide on."""
    frames = max(one.config.model.frames for one in exported)
    # A window's row is its last frame: those with room for the longest window have a window of every length.
    rows = windows(corpus, "val", frames).index[:, -1]
    return [judged(one, corpus, "val", one.val_outputs, rows) for one in exported]


def candidates(
    exported: Sequence[Exported], evidence: Sequence[Evidence], timed: LatencySession, source: str
) -> tuple[list[Candidate], list[LeftOut]]:
    """Join scores and latencies, the latter by hash of the file.

    Args:
        exported: what passed the gates.
        evidence: of each.
        timed: their latencies, measured here or on a device.
        source: what errors call the latencies.

    Returns:
        The candidates, and what has no latency.

    Raises:
        ArtifactError: the latencies are of other files altogether.
    """
    latencies = {file.sha256: file.latency for file in timed.files}
    reasons = {file.sha256: file.reason for file in timed.failed}
    seen, missing = [], []
    for one, calls in zip(exported, evidence, strict=True):
        content = sha256(one.artifact)
        if content in latencies:
            seen.append(Candidate(one, calls, calls.score, latencies[content]))
        else:
            reason = reasons.get(content, f"{source} holds no latency of {one.artifact.name} ({content[:12]})")
            missing.append(left_out(one.fitted.trial, reason))
    if not seen and not reasons:
        rule = f"must hold latencies of this ladder's {quantity(len(exported), 'candidate')}"
        next_step = "time the files in the study's candidates/ with `whc bench --out`"
        raise ArtifactError(problem(source, rule, quantity(len(timed.files), "other file"), next_step))
    return seen, missing


def judged(
    one: Exported, corpus: Corpus, split: str, outputs: Outputs, rows: NDArray[np.int64] | None = None
) -> Evidence:
    """An artifact's outputs on the windows of a split, judged in the order of `rows`, those they end at (None: all)."""
    task, taken = one.config.task_for(corpus.labels), windows(corpus, split, one.config.model.frames)
    ends, targets = taken.index[:, -1], taken.targets
    if rows is not None:
        order = np.argsort(ends)
        places = order[np.searchsorted(ends, rows, sorter=order)]
        outputs, ends, targets = outputs[places], rows, targets[places]
    groups = np.unique(corpus.groups[ends], return_inverse=True)[1]
    return Evidence(task.judge(outputs, targets), task.parts(outputs, targets), ends, groups)


def changed(corpus: Corpus, split_code: int, condition: Condition, task: Task) -> Corpus:
    """The corpus with the pictures of one split changed, and their targets with them."""
    rows = np.flatnonzero(corpus.splits == split_code)
    images = {}
    for size, pictures in corpus.images.items():
        images[size] = pictures.copy()
        images[size][rows] = np.stack([condition.change(picture) for picture in pictures[rows]])
    return replace(corpus, images=images, labelled=_moved(corpus.labelled, rows, condition, task))


def _moved(labelled: RowLabels, rows: NDArray[np.int64], condition: Condition, task: Task) -> RowLabels:
    targets = labelled.targets.copy()
    moves = torch.from_numpy(condition.move).float().expand(len(rows), 2, 3)
    targets[rows] = task.moved(torch.from_numpy(targets[rows]), moves).numpy()
    return replace(labelled, targets=targets)
