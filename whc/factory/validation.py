"""One model on any labelled data: its score with an interval, the floor, diagnostics and the worst mistakes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from whc.factory.evidence import interval, part_scores, scores
from whc.factory.mistakes import worst
from whc.factory.scoring import ALL_ROWS, LabelledRows, Model, Scored, picture_of, score
from whc.records import Metric, Part, replacing, write_atomic
from whc.tasks.showing import Mistake
from whc.training import diagnostics
from whc.words import quantity

MAX_MISTAKES = 12


class WrongRow(BaseModel):
    """A row that the model gets wrong: its number in the data set, its picture, and both answers in words."""

    model_config = ConfigDict(frozen=True)

    row: int
    picture: str
    words: str


class ClipAccuracy(BaseModel):
    """How many clips a model calls right by the mean of their windows' outputs.

    `low` and `high` are the 95 % interval of the share of right clips, in 0..1 (Wilson 1927).
    """

    model_config = ConfigDict(frozen=True)

    right: int
    clips: int
    low: float
    high: float

    @property
    def shown(self) -> str:
        """As people read it."""
        return f"{self.right} of {quantity(self.clips, 'clip')} right ({self.low:.0%} to {self.high:.0%})"


class Validation(BaseModel):
    """The result of a model on labelled rows.

    `score` is in 0..1 with its 95 % interval from a bootstrap over `groups` people or clips; `shown` is their text for
    people. `floor` is the score of the best constant answer on the same rows. `parts` and `details` are the task's.
    `clips` is None for a model of single frames, and where clips have no single answer.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    source: str
    split: str
    rows: int
    groups: int
    metric: Metric
    score: float
    score_low: float
    score_high: float
    shown: str
    floor: float
    floor_shown: str
    clips: ClipAccuracy | None
    parts: dict[str, Part]
    details: dict[str, Any]
    mistakes: list[WrongRow]
    notes: list[str]


def validate(model: Model, rows: LabelledRows, name: str) -> tuple[Validation, Scored]:
    """Score a model, under its name, on all rows that it can be run on.

    Raises:
        ArtifactError: the model does not run, or its outputs do not fit its task.
        DataError: no window ends at a row with a true answer.
    """
    scored = score(model, rows)
    task, evidence = scored.task, scored.evidence
    low, high = interval(scores(evidence))
    metric, floor = task.metric, task.floor(scored.targets)
    result = Validation(
        model=name,
        source=rows.source,
        split=rows.split,
        rows=len(scored.ends),
        groups=int(evidence.groups.max()) + 1,
        metric=metric,
        score=scored.score,
        score_low=low,
        score_high=high,
        shown=f"{metric.shown(scored.score)} ({metric.shown_range(low, high)})",
        floor=floor,
        floor_shown=f"{task.words.floor} scores {metric.shown(floor)}",
        clips=_clip_accuracy(scored, rows.corpus.clips[scored.ends]) if model.metadata.frames > 1 else None,
        parts=part_scores(evidence, metric),
        details=task.details(scored.outputs, scored.targets),
        mistakes=[_wrong_row(mistake, scored, rows) for mistake in _worst(scored)],
        notes=_notes(model, rows),
    )
    return result, scored


def _clip_accuracy(scored: Scored, clips: NDArray[np.int64]) -> ClipAccuracy | None:
    from scipy.stats import binomtest

    right = scored.task.clips_right(scored.outputs, scored.targets, clips)
    if not len(right):
        return None
    interval = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return ClipAccuracy(right=right.sum(), clips=len(right), low=interval.low, high=interval.high)


def _worst(scored: Scored) -> Sequence[Mistake]:
    """The worst mistakes, their rows as places among the scored rows."""
    return worst(scored.task, scored.outputs, scored.targets, scored.evidence.groups, MAX_MISTAKES)


def _wrong_row(mistake: Mistake, scored: Scored, rows: LabelledRows) -> WrongRow:
    name = str(rows.names[scored.ends[mistake.row]])
    return WrongRow(row=int(scored.evidence.rows[mistake.row]), picture=name, words=mistake.words)


def _notes(model: Model, rows: LabelledRows) -> list[str]:
    notes, metadata, fps = [], model.metadata, rows.corpus.frame_rate
    if metadata.data_fingerprint == rows.corpus.fingerprint and rows.split in ("train", ALL_ROWS):
        notes.append("the model was trained on some of these rows: expect a worse score on new data")
    if rows.corpus.unreadable:
        notes.append(f"{len(rows.corpus.unreadable)} unreadable pictures left out, such as {rows.corpus.unreadable[0]}")
    if metadata.frames > 1 and metadata.frame_rate and fps and fps != metadata.frame_rate:
        notes.append(
            f"windows are of consecutive frames, {fps:g} a second; the model was trained on {metadata.frame_rate:g}"
        )
    return notes


def write(result: Validation, scored: Scored, model: Model, rows: LabelledRows, folder: Path) -> None:
    """Write val.json, diagnostics.png and mistakes.png into a folder, which is created."""
    write_atomic(folder / "val.json", json.dumps(result.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
    noteworthy = scored.task.noteworthy(scored.outputs, scored.targets)
    pictures = picture_of(model, rows, scored.ends[noteworthy]) if len(noteworthy) else None
    title = f"{result.model} on {result.split}: {result.shown}"
    diagnostics.draw(folder / "diagnostics.png", title, scored.task, scored.outputs, scored.targets, pictures)
    _draw_mistakes(folder / "mistakes.png", scored, model, rows)


def _draw_mistakes(path: Path, scored: Scored, model: Model, rows: LabelledRows) -> None:
    """The pictures of the worst mistakes, with their lines and words."""
    from matplotlib.figure import Figure

    figure, mistakes = Figure(figsize=(10, 9), layout="constrained"), _worst(scored)
    panels = figure.subplots(3, MAX_MISTAKES // 3).ravel()
    for panel in panels:
        panel.axis("off")
    for panel, mistake in zip(panels, mistakes, strict=False):
        picture = picture_of(model, rows, scored.ends[[mistake.row]])[0]
        height, width = picture.shape[:2]
        panel.imshow(picture, extent=(0, width, height, 0))
        for line in mistake.lines:
            xs, ys = zip(line.start, line.end, strict=True)
            colour = [part / 255 for part in line.colour]
            panel.plot([x * width for x in xs], [y * height for y in ys], color=colour, linewidth=1.5)
        panel.set(xlim=(0, width), ylim=(height, 0))
        panel.set_title(fill(mistake.words, 40), fontsize=7, parse_math=False)
    count, total = quantity(len(mistakes), "worst mistake"), len(scored.ends)
    drawn = f"; {scored.task.words.mistakes}" * bool(scored.task.words.mistakes)
    figure.suptitle(f"the {count} of {total} rows{drawn}" if mistakes else "no mistakes", fontsize=10)
    with replacing(path) as temporary:
        figure.savefig(temporary)
