"""Other kinds of file of each variant: made, scored and timed against its ONNX file, and kept if that pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whc import plugins, records
from whc.data.dataset import Corpus
from whc.errors import ArtifactError
from whc.factory.evidence import Evidence, probability_of_gain
from whc.factory.finished import FinishedResults
from whc.factory.front import Candidate, judged
from whc.factory.recipe import Recipe
from whc.factory.refit import CHECKPOINT_FILE
from whc.factory.variants import LADDER_FOLDER
from whc.latency.host import host
from whc.plugins import Choice
from whc.records import LatencySession, TimedFile, TriedArtifact, VariantRow, code_version, replacing
from whc.runtimes import choose_for
from whc.training import checkpoint
from whc.trials.artifacts import export, predictions, restore
from whc.trials.calibration import calibration_inputs

NOT_TIMED_HERE = "not made: latencies are of another device (--latency-from); `whc export --artifact` makes it"
MAX_SIZE_SHARE = 0.6  # of the ONNX file: smaller by 40 % or more
TimeFiles = Callable[[Sequence[Path]], LatencySession]


@dataclass(frozen=True)
class _Made:
    """A file that was made, with its evidence on the validation rows of its variant; `fault` is not empty if it failed.

    `variant` is the place of its row.
    """

    variant: int
    kind: str
    path: Path
    fault: str = ""
    evidence: Evidence | None = None


def add_artifacts(
    rows: Sequence[VariantRow],
    variants: Sequence[Candidate],
    recipe: Recipe,
    corpus: Corpus,
    folder: Path,
    finished: FinishedResults,
    time_files: TimeFiles,
    on_step: Callable[[str], None],
) -> list[VariantRow]:
    """The rows with every artifact that the recipe asks for; the files that are kept lie in `folder`.

    Args:
        rows: the variants, whose ONNX files lie in `folder`.
        variants: the candidate of each row.
        recipe: says which artifacts to make, and when one is kept.
        corpus: calibrates with its training split, and scores with its validation split.
        folder: of the ladder's files.
        finished: files and outputs of earlier builds, which are not made again.
        time_files: times files in one session.
        on_step: called with a line at each step.
    """
    made: list[_Made] = []
    for place, (row, candidate) in enumerate(zip(rows, variants, strict=True)):
        for artifact in recipe.artifacts:
            on_step(f"{artifact.name} of {row.name}")
            made.append(_make(place, row, candidate, artifact, corpus, folder, finished))
    whole = [item for item in made if not item.fault]
    timed: dict[str, TimedFile] = {}
    if whole:
        paths = [folder / f"{row.name}.onnx" for row in rows]
        timed = {file.path: file for file in time_files([*paths, *(item.path for item in whole)]).files}
    tried: list[list[TriedArtifact]] = [[] for _ in rows]
    for item in made:
        onnx = folder / f"{rows[item.variant].name}.onnx"
        judgement = _judge(item, variants[item.variant], timed.get(str(item.path)), timed.get(str(onnx)), recipe)
        if not judgement.file:
            item.path.unlink(missing_ok=True)
        tried[item.variant].append(judgement)
    return [row.model_copy(update={"artifacts": found}) for row, found in zip(rows, tried, strict=True)]


def _make(
    place: int,
    row: VariantRow,
    candidate: Candidate,
    artifact: Choice,
    corpus: Corpus,
    folder: Path,
    finished: FinishedResults,
) -> _Made:
    path = folder / f"{row.name}.{artifact.name}{plugins.load('export', artifact.name).SUFFIX}"
    depends_on = _depends_on(candidate, artifact)
    content = finished.arrays(depends_on)
    if content is None:
        try:
            content = _file_and_outputs(candidate, artifact, corpus, path)
        except ArtifactError as error:
            content = {"fault": np.array(str(error))}
        finished.keep_arrays(depends_on, content)
    if "fault" in content:
        return _Made(place, artifact.name, path, fault=str(content["fault"]))
    with replacing(path) as temporary:
        temporary.write_bytes(content["content"].tobytes())
    evidence = judged(candidate.exported, corpus, "val", content["outputs"], candidate.evidence.rows)
    return _Made(place, artifact.name, path, evidence=evidence)


def _file_and_outputs(candidate: Candidate, artifact: Choice, corpus: Corpus, path: Path) -> dict[str, NDArray[Any]]:
    source = candidate.exported.fitted.folder / CHECKPOINT_FILE
    saved = checkpoint.load(source)
    config, network = restore(saved, str(source))
    needs_inputs = plugins.load("export", artifact.name).NEEDS_CALIBRATION
    export(config, network, saved, path, artifact, calibration_inputs(config, corpus) if needs_inputs else None)
    outputs = np.concatenate(list(predictions(path, corpus, "val", choose_for([path]))))
    return {"content": np.frombuffer(path.read_bytes(), np.uint8), "outputs": outputs}


def _depends_on(candidate: Candidate, artifact: Choice) -> dict[str, Any]:
    record = candidate.exported.fitted.record
    return {
        "checkpoint": record.files.get(CHECKPOINT_FILE),
        "data": record.data_fingerprint,
        "artifact": artifact.dump(),
        "host": host(),
        "code": code_version(),
    }


def _judge(
    item: _Made, candidate: Candidate, timed: TimedFile | None, onnx: TimedFile | None, recipe: Recipe
) -> TriedArtifact:
    """Why a file is kept or dropped."""
    if item.evidence is None:
        return TriedArtifact(kind=item.kind, verdict=f"dropped: {item.fault}")
    size_bytes = item.path.stat().st_size
    tried = TriedArtifact(
        kind=item.kind,
        verdict="",
        runtime=choose_for([item.path]).name,
        size_bytes=size_bytes,
        val_score=item.evidence.score,
    )
    if timed is None or onnx is None:
        return tried.model_copy(update={"verdict": "dropped: it could not be timed"})
    ours, theirs = timed.latency, onnx.latency
    tried = tried.model_copy(
        update={
            "ram_bytes": timed.ram_bytes,
            "latency_ms": ours.ms,
            "latency_ratio": ours.ratio,
            "ratio_to_onnx": ours.ratio / theirs.ratio,
            "ratio_low": ours.ratio_low / theirs.ratio_high,
            "ratio_high": ours.ratio_high / theirs.ratio_low,
        }
    )
    metric = candidate.exported.config.task_kind.metric
    sure = probability_of_gain(item.evidence, candidate.evidence, -recipe.max_loss)
    if sure < recipe.confidence:
        told = f"validation {metric.shown(item.evidence.score)}"
        limit = f"within {recipe.max_loss:g} of the score in {sure:.0%} of the resamples, not {recipe.confidence:.0%}"
        return tried.model_copy(update={"verdict": f"dropped: {told}, {limit}"})
    gains = []
    if ours.ratio_high < theirs.ratio_low:
        gains.append("faster")
    if size_bytes <= MAX_SIZE_SHARE * candidate.exported.artifact.stat().st_size:
        gains.append("smaller")
    if not gains:
        return tried.model_copy(update={"verdict": "dropped: neither distinguishably faster nor 40 % smaller"})
    kept = {"verdict": f"kept: {' and '.join(gains)}", "file": f"{LADDER_FOLDER}/{item.path.name}"}
    return tried.model_copy(update=kept | {"sha256": records.sha256(item.path)})
