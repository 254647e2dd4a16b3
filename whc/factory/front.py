"""Candidates: the study's front, exported again, checked for parity, scored on the same rows, and timed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from whc.config import fingerprint
from whc.data.dataset import Corpus, Size
from whc.data.row_labels import RowLabels
from whc.data.windows import windows
from whc.errors import ArtifactError, problem
from whc.export.parity import Parity, ParityLimits
from whc.factory.evidence import Evidence
from whc.factory.finished import FinishedResults
from whc.factory.refit import ARTIFACT_FILE, CHECKPOINT_FILE, Fitted, is_whole
from whc.latency.host import host
from whc.pareto import Point
from whc.plugins import Choice
from whc.records import RECORD_SCHEMA, Latency, LatencySession, LeftOut, TimedFile, TrialRecord, code_version, sha256
from whc.runtimes import onnx_file
from whc.tasks import Outputs, Task
from whc.tasks.conditions import Condition
from whc.training import checkpoint
from whc.trials.artifacts import export, parity, restore
from whc.trials.config import TrialConfig
from whc.words import quantity


@dataclass(frozen=True)
class Exported:
    """A candidate's final artifact, how it compares with the network it came from, and its outputs on validation.

    `note` says of another kind of file, or of a file on another runtime than the study's, how it compares with the ONNX
    file that passed parity; else it is empty.
    """

    fitted: Fitted
    config: TrialConfig
    artifact: Path
    parity: Parity
    val_outputs: Outputs
    note: str = ""

    @property
    def trial_id(self) -> str:
        """The id of the search's trial."""
        return self.fitted.trial.trial_id


@dataclass(frozen=True)
class Candidate:
    """A candidate for selection; `val_score` and `evidence` are of the artifact, on the rows common to all."""

    exported: Exported
    evidence: Evidence
    val_score: float
    timed: TimedFile

    @property
    def latency(self) -> Latency:
        """Of the artifact."""
        return self.timed.latency

    @property
    def point(self) -> Point:
        """Validation score and latency in ms."""
        return Point(self.val_score, self.latency.ms)


def left_out(
    trial: TrialRecord, reason: str, val_score: float | None = None, latency: Latency | None = None
) -> LeftOut:
    """A rejected candidate with the reason; the search's numbers stand in for missing ones."""
    latency = latency or trial.latency
    assert latency is not None  # noqa: S101 (a finished trial has one)
    score = trial.val_score or 0.0 if val_score is None else val_score
    return LeftOut(trial_id=trial.trial_id, val_score=score, latency_ms=latency.ms, reason=reason)


def export_all(
    fitted: Sequence[Fitted],
    target: Path,
    corpus: Corpus,
    runtime: Choice,
    limits: ParityLimits,
    finished: FinishedResults,
    on_step: Callable[[str], None],
) -> tuple[list[Exported], list[LeftOut]]:
    """Export each checkpoint into `target`, and compare it with its network on the whole validation split.

    A comparison in `finished` is not made again.

    Returns:
        The candidates that passed, and those that failed.
    """
    passed: list[Exported] = []
    failed: list[LeftOut] = []
    for candidate in fitted:
        on_step(f"export and parity of trial {candidate.record.trial_id}")
        try:
            exported = _export(candidate, target, corpus, runtime, limits, finished)
        except ArtifactError as error:
            failed.append(left_out(candidate.trial, str(error)))
            continue
        if exported.parity.passed:
            passed.append(exported)
        else:
            failed.append(left_out(candidate.trial, str(exported.parity)))
    return passed, failed


def _export(
    candidate: Fitted,
    target: Path,
    corpus: Corpus,
    runtime: Choice,
    limits: ParityLimits,
    finished: FinishedResults,
) -> Exported:
    source = candidate.folder / CHECKPOINT_FILE
    if not is_whole(candidate.record, candidate.folder, CHECKPOINT_FILE):
        rule = "must be the file its trial wrote, got another or none"
        raise ArtifactError(f"{source}: {rule}; build with a recipe whose refit.seeds is 1 or more")
    saved = checkpoint.load(source)
    config, network = restore(saved, str(source))
    artifact = target / f"{candidate.record.trial_id}.onnx"
    if has_artifact(candidate):
        shutil.copyfile(candidate.folder / ARTIFACT_FILE, artifact)
    else:
        export(config, network, saved, artifact)
    depends_on = parity_depends_on(candidate.record, sha256(artifact), runtime, limits)
    content = finished.arrays(depends_on)
    if content is None:
        outcome, outputs = parity(config, network, artifact, corpus, runtime, limits)
        finished.keep_arrays(depends_on, {"parity": np.array(outcome.model_dump_json()), "outputs": outputs})
    else:
        outcome, outputs = Parity.model_validate_json(str(content["parity"])), content["outputs"]
    return Exported(candidate, config, artifact, outcome, outputs)


def has_artifact(candidate: Fitted) -> bool:
    """Whether the file that the training exported is there and can be used as it is."""
    path = candidate.folder / ARTIFACT_FILE
    return is_whole(candidate.record, candidate.folder, ARTIFACT_FILE) and _is_current(path)


def parity_depends_on(record: TrialRecord, artifact: str, runtime: Choice, limits: ParityLimits) -> dict[str, Any]:
    """What parity and outputs on validation depend on; `artifact` is the hash of the exported file."""
    return {
        "checkpoint": record.files.get(CHECKPOINT_FILE),
        "artifact": artifact,
        "data": record.data_fingerprint,
        "runtime": runtime.dump(),
        "limits": limits.model_dump(),
        "host": host(),
        "torch": torch.__version__,
        "code": code_version(),
    }


def _is_current(artifact: Path) -> bool:
    """Whether the metadata of an exported file have the current schema."""
    file, _ = onnx_file.read(artifact)
    return file.metadata().schema_version == RECORD_SCHEMA


def score_all(exported: Sequence[Exported], corpus: Corpus) -> list[Evidence]:
    """Evidence of each exported file on the validation rows that are common to all."""
    frames = max(candidate.config.model.frames for candidate in exported)
    # A window's row is its last frame. A row with room for the longest window has a window of every length.
    rows = windows(corpus, "val", frames).index[:, -1]
    return [judged(candidate, corpus, "val", candidate.val_outputs, rows) for candidate in exported]


def candidates(
    exported: Sequence[Exported], evidence: Sequence[Evidence], timed: LatencySession, source: str
) -> tuple[list[Candidate], list[LeftOut]]:
    """Join scores and latencies, the latter by hash of the file.

    Files of the same architecture have the latency of the first of them, as it does not depend on the weights: of a
    network that was trained in two ways, noise would otherwise decide which is faster.

    Args:
        exported: files that passed parity.
        evidence: of each file.
        timed: their latencies, measured here or on a device.
        source: name of the latencies in errors.

    Returns:
        The candidates, and the files without a latency.

    Raises:
        ArtifactError: none of the latencies is of these files.
    """
    timed_files = {file.sha256: file for file in timed.files}
    reasons = {file.sha256: file.reason for file in timed.failed}
    with_latency, missing = [], []
    by_architecture: dict[str, TimedFile] = {}
    for candidate, judgement in zip(exported, evidence, strict=True):
        digest = sha256(candidate.artifact)
        if digest in timed_files:
            file = by_architecture.setdefault(_architecture(candidate), timed_files[digest])
            with_latency.append(Candidate(candidate, judgement, judgement.score, file))
        else:
            reason = reasons.get(digest, f"{source} holds no latency of {candidate.artifact.name} ({digest[:12]})")
            missing.append(left_out(candidate.fitted.trial, reason))
    if not with_latency and not reasons:
        rule = f"must hold latencies of this ladder's {quantity(len(exported), 'candidate')}"
        next_step = "time the files in the study's candidates/ with `whc bench --out`"
        raise ArtifactError(problem(source, rule, quantity(len(timed.files), "other file"), next_step))
    return with_latency, missing


def _architecture(candidate: Exported) -> str:
    """Hash of the network as it was searched; a training also settles parameters of the task, which no file holds."""
    config = TrialConfig.model_validate(candidate.fitted.trial.config)
    return fingerprint({"task": config.task.dump(), "model": config.model.model_dump(mode="json", exclude={"dropout"})})


def judged(
    exported: Exported, corpus: Corpus, split: str, outputs: Outputs, rows: NDArray[np.int64] | None = None
) -> Evidence:
    """Judge an artifact's outputs on the windows of a split that end at `rows`, in this order (None: on all)."""
    task = exported.config.task_for(corpus.labels)
    split_windows = windows(corpus, split, exported.config.model.frames)
    ends, targets = split_windows.index[:, -1], split_windows.targets
    if rows is not None:
        order = np.argsort(ends)
        places = order[np.searchsorted(ends, rows, sorter=order)]
        outputs, ends, targets = outputs[places], rows, targets[places]
    groups = np.unique(corpus.groups[ends], return_inverse=True)[1]
    return Evidence(task.judge(outputs, targets), task.parts(outputs, targets), ends, groups)


def changed(corpus: Corpus, split_code: int, condition: Condition, task: Task) -> Corpus:
    """The corpus with changed pictures in one split, and with targets changed accordingly."""
    rows = np.flatnonzero(corpus.splits == split_code)
    images = {}
    for size, pictures in corpus.images.items():
        images[size] = pictures.copy()
        images[size][rows] = np.stack([condition.change(picture) for picture in pictures[rows]])
    size = next(iter(corpus.images))  # a move that is right for one size is right for all of this shape
    return replace(corpus, images=images, labelled=_moved(corpus.labelled, rows, condition, task, size))


def _moved(labelled: RowLabels, rows: NDArray[np.int64], condition: Condition, task: Task, size: Size) -> RowLabels:
    targets = labelled.targets.copy()
    moves = torch.from_numpy(condition.move).float().expand(len(rows), 2, 3)
    targets[rows] = task.moved(torch.from_numpy(targets[rows]), moves, size).numpy()
    return replace(labelled, targets=targets)
