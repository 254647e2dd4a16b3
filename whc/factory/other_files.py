"""Files of candidates that are not ONNX, and outputs on other runtimes; those of earlier builds are used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whc import plugins
from whc.data.dataset import Corpus
from whc.data.windows import windows
from whc.errors import ArtifactError
from whc.export.parity import ParityLimits, compare
from whc.factory.finished import FinishedResults
from whc.factory.front import Exported, left_out
from whc.factory.recipe import LadderKind
from whc.factory.refit import CHECKPOINT_FILE
from whc.latency import first_pass
from whc.latency.host import host
from whc.plugins import Choice, ChoiceOf
from whc.records import LeftOut, TrialRecord, code_version, replacing
from whc.tasks import Outputs
from whc.training import checkpoint
from whc.trials.artifacts import export, predictions, restore
from whc.trials.calibration import calibration_inputs

FIRST_PASS_S = 60.0

PLAIN_ONNX = ChoiceOf("export").parse("onnx")  # as every candidate has it


def for_ladder(
    exported: Sequence[Exported],
    kind: LadderKind,
    corpus: Corpus,
    folder: Path,
    finished: FinishedResults,
    on_step: Callable[[str], None],
) -> tuple[list[Exported], list[LeftOut]]:
    """The candidates as files of a ladder's kind, with the outputs of these files on the ladder's runtime.

    Args:
        exported: the candidates as ONNX files.
        kind: of the ladder.
        corpus: calibrates with its training split, and is answered for its validation split.
        folder: takes files of other kinds than ONNX.
        finished: results of earlier builds.
        on_step: called with a line at each step.

    Returns:
        The candidates that could be made, and those that could not.
    """
    passed: list[Exported] = []
    failed: list[LeftOut] = []
    for candidate in exported:
        on_step(f"{kind} of trial {candidate.trial_id}")
        path = candidate.artifact
        if kind.artifact != PLAIN_ONNX:
            path = folder / f"{candidate.trial_id}.{kind.artifact.name}{suffix_of(kind.artifact)}"
        try:
            outputs = made(candidate, kind.artifact, kind.runtime, corpus, path, finished)
        except ArtifactError as error:
            failed.append(left_out(candidate.fitted.trial, str(error)))
            continue
        targets, task = (
            windows(corpus, "val", candidate.config.model.frames).targets,
            candidate.config.task_for(corpus.labels),
        )
        compared, _ = compare([candidate.val_outputs], [outputs], targets, task, ParityLimits())
        note = f"beside its ONNX file on the study's runtime: {compared.differences}"
        passed.append(replace(candidate, artifact=path, val_outputs=outputs, note=note))
    return passed, failed


def suffix_of(artifact: Choice) -> str:
    """Suffix of the files of a kind."""
    suffix: str = plugins.load("export", artifact.name).SUFFIX
    return suffix


def made(
    candidate: Exported, artifact: Choice, runtime: Choice, corpus: Corpus, path: Path, finished: FinishedResults
) -> Outputs:
    """Write a candidate's file of a kind, unless `path` is its ONNX file, and run it on the validation split.

    Returns:
        Its outputs, in the order of the windows.

    Raises:
        ArtifactError: it cannot be made, or does not run; earlier builds may have found that.
    """
    depends_on = made_depends_on(candidate.fitted.record, artifact, runtime)
    content = finished.arrays(depends_on)
    if content is None:
        try:
            content = _file_and_outputs(candidate, artifact, runtime, corpus, path)
        except ArtifactError as error:
            content = {"fault": np.array(str(error))}
        finished.keep_arrays(depends_on, content)
    if "fault" in content:
        raise ArtifactError(str(content["fault"]))
    if path != candidate.artifact:
        with replacing(path) as temporary:
            temporary.write_bytes(content["content"].tobytes())
    return content["outputs"]


def made_depends_on(record: TrialRecord, artifact: Choice, runtime: Choice) -> dict[str, Any]:
    """What a file of a kind and its outputs depend on; `record` is that of the training."""
    return {
        "checkpoint": record.files.get(CHECKPOINT_FILE),
        "data": record.data_fingerprint,
        "artifact": artifact.dump(),
        "runtime": runtime.dump(),
        "host": host(),
        "code": code_version(),
    }


def _file_and_outputs(
    candidate: Exported, artifact: Choice, runtime: Choice, corpus: Corpus, path: Path
) -> dict[str, NDArray[Any]]:
    if path != candidate.artifact:
        source = candidate.fitted.folder / CHECKPOINT_FILE
        saved = checkpoint.load(source)
        config, network = restore(saved, str(source))
        needs_inputs = plugins.load("export", artifact.name).NEEDS_CALIBRATION
        export(config, network, saved, path, artifact, calibration_inputs(config, corpus) if needs_inputs else None)
        # Some files that converters write crash their runtime, which must not end the build.
        first_pass.check(path, runtime, FIRST_PASS_S)
    outputs = np.concatenate(list(predictions(path, corpus, "val", runtime)))
    return {"content": np.frombuffer(path.read_bytes(), np.uint8), "outputs": outputs}
