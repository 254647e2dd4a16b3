"""Other kinds of file of each variant: made, scored and timed against its ONNX file, and kept if that pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from whc import records
from whc.data.dataset import Corpus
from whc.errors import ArtifactError
from whc.factory import smoothing
from whc.factory.evidence import Evidence, probability_of_gain
from whc.factory.finished import FinishedResults
from whc.factory.front import Candidate, judged
from whc.factory.other_files import made, suffix_of
from whc.factory.recipe import Recipe, SmoothingValues
from whc.factory.variants import LADDER_FOLDER
from whc.plugins import Choice
from whc.records import LatencySession, TimedFile, TriedArtifact, VariantRow
from whc.runtimes import suited

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
    runtime: str = ""
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
    runtime: Choice,
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
        runtime: what runs the ladder's files, and the others that it reads; those of LiteRT run on it.
    """
    tried_files: list[_Made] = []
    for place, (row, candidate) in enumerate(zip(rows, variants, strict=True)):
        for artifact in recipe.artifacts:
            on_step(f"{artifact.name} of {row.name}")
            tried_files.append(
                _make(place, row, candidate, artifact, recipe.smoothing, corpus, folder, finished, runtime)
            )
    whole = [item for item in tried_files if not item.fault]
    timed: dict[str, TimedFile] = {}
    if whole:
        paths = [folder / Path(row.file).name for row in rows]
        timed = {file.path: file for file in time_files([*paths, *(item.path for item in whole)]).files}
    tried: list[list[TriedArtifact]] = [[] for _ in rows]
    for item in tried_files:
        onnx = folder / Path(rows[item.variant].file).name
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
    values: SmoothingValues,
    corpus: Corpus,
    folder: Path,
    finished: FinishedResults,
    runtime: Choice,
) -> _Made:
    path = folder / f"{row.name}.{artifact.name}{suffix_of(artifact)}"
    runtime = suited(path, runtime)
    try:
        outputs = made(candidate.exported, artifact, runtime, corpus, path, finished)
    except ArtifactError as error:
        return _Made(place, artifact.name, path, fault=str(error))
    smoothing.carry(path, replace(candidate.exported, val_outputs=outputs), corpus, values)
    evidence = judged(candidate.exported, corpus, "val", outputs, candidate.evidence.rows)
    return _Made(place, artifact.name, path, runtime=runtime.name, evidence=evidence)


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
        runtime=item.runtime,
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
