"""What the study's page shows of each variant: diagnostics, worst mistakes and curves, all of the validation split."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from whc import records
from whc.data.dataset import Corpus
from whc.data.preprocess import Image, decode
from whc.data.windows import Windows, windows
from whc.factory.evidence import interval, scores
from whc.factory.finished import FinishedResults
from whc.factory.front import Candidate
from whc.factory.mistakes import worst
from whc.pages.thumbnails import thumbnail
from whc.records import LadderDetails, ShownMistake, VariantDetails
from whc.tasks.showing import Mistake
from whc.training import diagnostics

DETAILS_FILE = "details.json"


def write(
    chosen: Mapping[str, Candidate],
    corpus: Corpus,
    thumbnails: int,
    folder: Path,
    finished: FinishedResults,
    on_step: Callable[[str], None],
) -> None:
    """Write details.json and its pictures; a picture in `finished` is not drawn again.

    Args:
        chosen: the variants by name; their outputs on validation are there already.
        corpus: the study's data.
        thumbnails: mistakes shown of each variant; with 0 no picture of the data is written.
        folder: of the ladder's files.
        finished: results of earlier builds.
        on_step: called with a line at each step.
    """
    on_step("drawing diagnostics on the validation split")
    variants = {
        name: _variant(name, candidate, corpus, thumbnails, folder, finished) for name, candidate in chosen.items()
    }
    records.save(LadderDetails(holds_pictures=thumbnails > 0, variants=variants), folder / DETAILS_FILE)


def _variant(
    name: str, candidate: Candidate, corpus: Corpus, thumbnails: int, folder: Path, finished: FinishedResults
) -> VariantDetails:
    exported, fitted = candidate.exported, candidate.exported.fitted
    task, model, outputs = exported.config.task_for(corpus.labels), exported.config.model, exported.val_outputs
    split = windows(corpus, "val", model.frames)
    ends = split.index[:, -1]  # of a window its last frame is shown
    picture = folder / f"{name}.diagnostics.webp"
    _draw(picture, candidate, corpus, split, thumbnails > 0, finished)
    largest = corpus.images[max(corpus.images, key=lambda size: size[0] * size[1])]
    low, high = interval(scores(candidate.evidence))
    wrong = worst(task, outputs, split.targets, corpus.groups[ends], thumbnails) if thumbnails else []
    rows = corpus.row_numbers[ends]
    return VariantDetails(
        val_low=low,
        val_high=high,
        seed=fitted.record.seed,
        curves={str(training.seed): training.curve for training in fitted.trainings},
        diagnostics=picture.name,
        mistakes=[_shown(mistake, largest[ends[mistake.row]], rows[mistake.row]) for mistake in wrong],
    )


def _draw(
    path: Path, candidate: Candidate, corpus: Corpus, split: Windows, has_pictures: bool, finished: FinishedResults
) -> None:
    """Write the diagnostics of a variant as a picture, called as the variant up to the first dot."""
    config, outputs = candidate.exported.config, candidate.exported.val_outputs
    title = f"{path.name.partition('.')[0]}, validation"
    depends_on = {
        "diagnostics": title,
        "outputs": hashlib.sha256(outputs.tobytes()).hexdigest(),
        "config": config.resolved(),
        "data": corpus.fingerprint,
        "pictures": has_pictures,
        "code": records.code_version(),
    }
    earlier = finished.file(depends_on, path)
    if earlier.is_file() and decode(earlier.read_bytes()) is not None:
        shutil.copyfile(earlier, path)
        return
    task, seen = config.task_for(corpus.labels), corpus.images[config.model.image_size]
    noteworthy = split.index[:, -1][task.noteworthy(outputs, split.targets)]
    diagnostics.draw(path, title, task, outputs, split.targets, seen[noteworthy] if has_pictures else None)
    finished.keep_file(depends_on, path)


def _shown(mistake: Mistake, picture: Image, row: int) -> ShownMistake:
    strokes = [(line.start, line.end, line.colour) for line in mistake.lines]
    is_drawn = [stroke for stroke in strokes if np.isfinite(stroke[:2]).all()]
    return ShownMistake(words=f"{mistake.words}; row {row}", picture=thumbnail(picture, is_drawn))
