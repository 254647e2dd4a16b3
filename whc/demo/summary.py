"""What a run of the demo tells at its end."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from whc.demo.ending import Ending
from whc.demo.model import LoadedModel
from whc.demo.outputs import Result, Write
from whc.demo.people import Look
from whc.demo.sources import Source
from whc.tasks import Outputs, Task
from whc.words import quantity

MAX_EXAMPLES = 5  # unreadable images, or people, that are named
_MISSING_SHARE = 0.1  # a note tells of more missing frames; a video's header may be wrong by one or two frames
_COUNTED_TOGETHER = 64  # decisions
_LATENCIES = 10_000  # decisions, the latest, whose median is told
WHOLE_PICTURE = 0  # in place of a person's identity


class PersonSummary(BaseModel):
    """One person: in how many frames, and the shares of the decisions by answer."""

    model_config = ConfigDict(frozen=True)

    person: int
    frames: int
    decisions: int
    shares: dict[str, float]


class DemoSummary(BaseModel):
    """Summary of a run.

    `seconds` is wall time, `fps` the frames a second in that time, with drawing and writing. `latency_ms_p50` is the
    median time of the latest decisions (packing and forward pass), None without one. `shares` are the shares of the
    decisions by answer, 0..1. `headline` names the answers in the line for people (empty: all answers that occurred).
    `detector` found `people`, each of them `what`; it is None, and there are none, where the model saw complete frames
    or a region. `notes` tell the user of skipped files and the like.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    source: str
    headline: list[str]
    frames: int
    decisions: int
    seconds: float
    fps: float
    latency_ms_p50: float | None
    shares: dict[str, float]
    detector: str | None
    what: str
    people: list[PersonSummary]
    save: str | None
    csv: str | None
    interrupted: bool
    notes: list[str]

    def line(self) -> str:
        """The summary for people, in one line."""
        parts = [f"{self.source}: {self.frames} frames in {self.seconds:.1f} s ({self.fps:.0f} fps)"]
        if self.latency_ms_p50 is not None:
            parts.append(f"{self.decisions} decisions, {self._shown(self.shares)}")
            parts.append(f"median latency {self.latency_ms_p50:.2f} ms")
        if self.people:
            longest_seen = sorted(self.people, key=lambda person: -person.frames)[:MAX_EXAMPLES]
            each = [f"#{person.person} in {quantity(person.frames, 'frame')}" for person in longest_seen]
            answers = [self._shown(person.shares) or "no decision" for person in longest_seen]
            each = [f"{who} ({answer})" for who, answer in zip(each, answers, strict=True)]
            more = ", ..." if len(self.people) > MAX_EXAMPLES else ""
            parts.append(f"{quantity(len(self.people), self.what)}: {', '.join(each)}{more}")
        parts += [f"wrote {path}" for path in (self.save, self.csv) if path]
        return "; ".join((*parts, *self.notes))

    def _shown(self, shares: dict[str, float]) -> str:
        answers = self.headline or [answer for answer, share in shares.items() if share]
        return ", ".join(f"{shares[answer]:.0%} {answer}" for answer in answers if answer in shares)


class Decisions:
    """Counts decisions by their answer. A run may last for days, so that no decision is kept."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._waiting: list[Outputs] = []  # counted together, which is quicker
        self._counts: Counter[str] = Counter()
        self.count = 0

    def add(self, output: Outputs) -> None:
        """Count a decision."""
        self.count += 1
        self._waiting.append(output)
        if len(self._waiting) == _COUNTED_TOGETHER:
            self._count()

    def _count(self) -> None:
        self._counts.update(self._task.answer_counts(np.stack(self._waiting)))
        self._waiting.clear()

    def shares(self) -> dict[str, float]:
        """The shares of the answers, empty without a decision."""
        if self._waiting:
            self._count()
        return {answer: count / self.count for answer, count in self._counts.items()}


class Tally:
    """Passes results to the outputs and counts them."""

    def __init__(self, ending: Ending, task: Task) -> None:
        self._ending = ending
        self.frames = 0
        self.empty_frames = 0  # without a sighting
        self.doubt = ""  # the first
        self.doubtful_frames = 0
        self.seconds = 0.0
        self.latencies_ms: deque[float] = deque(maxlen=_LATENCIES)
        self.decisions = Decisions(task)
        self.frames_of: defaultdict[int, int] = defaultdict(int)  # by identity
        self.decisions_of: defaultdict[int, Decisions] = defaultdict(partial(Decisions, task))
        self.notes: list[str] = []
        self.stream_ended = False  # False too if the user ended the run

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run."""
        return self._ending.signal != 0

    def follow(self, results: Iterator[Result], writes: Sequence[Write]) -> None:
        """Pass results to all outputs until an output stops the run, or until a signal."""
        started = time.perf_counter()
        for result in results:
            go_on = [write(result) for write in writes]
            self._count(result)
            if self.interrupted or not all(go_on):
                break
        else:
            self.stream_ended = True
        self.seconds = time.perf_counter() - started

    def _count(self, result: Result) -> None:
        self.frames += 1
        self.empty_frames += not result.sightings
        if result.doubt:
            self.doubt = self.doubt or result.doubt
            self.doubtful_frames += 1
        for sighting in result.sightings:
            person = sighting.found.identity if sighting.found else WHOLE_PICTURE
            self.frames_of[person] += 1
            if sighting.is_fresh and sighting.verdict:
                self.latencies_ms.append(sighting.verdict.latency_ms)
                self.decisions.add(sighting.verdict.output)
                self.decisions_of[person].add(sighting.verdict.output)


def summarize(
    tally: Tally, stream: Source, model: LoadedModel, look: Look | None, save: Path | None, csv: Path | None
) -> DemoSummary:
    """The summary of a run that has ended."""
    decisions, latencies_ms = tally.decisions, tally.latencies_ms
    people = [
        PersonSummary(person=person, frames=frames, decisions=own.count, shares=own.shares())
        for person, frames in tally.frames_of.items()
        if person != WHOLE_PICTURE
        for own in [tally.decisions_of[person]]
    ]
    notes = [*_notes_on_people(tally, look), *_notes_on_stream(tally, stream, model)]
    if not decisions.count and (look is None or people):
        notes.insert(0, f"no decision: the model needs {model.metadata.frames} frames")
    return DemoSummary(
        model=str(model.path),
        source=stream.name,
        headline=list(model.task.headline_answers),
        frames=tally.frames,
        decisions=decisions.count,
        seconds=tally.seconds,
        fps=tally.frames / tally.seconds if tally.seconds else 0.0,
        latency_ms_p50=statistics.median(latencies_ms) if latencies_ms else None,
        shares=decisions.shares(),
        detector=look.detector.name if look else None,
        what=look.detector.what if look else "",
        people=people,
        save=str(save) if save else None,
        csv=str(csv) if csv else None,
        interrupted=tally.interrupted,
        notes=notes,
    )


def _notes_on_people(tally: Tally, look: Look | None) -> list[str]:
    if look is None:
        if not tally.doubt:
            return []
        doubtful = tally.doubtful_frames
        often = f" ({doubtful} of {tally.frames} frames)" if doubtful < tally.frames else ""
        advice = "if it learnt crops, find them with --detect NAME (face, a registered detector, or a file)"
        return [f"do not trust these answers{often}: {tally.doubt}; {advice}"]
    notes = []
    if tally.empty_frames:
        which = "any frame" if tally.empty_frames == tally.frames else f"{tally.empty_frames} of {tally.frames} frames"
        notes.append(f"no {look.detector.what} found in {which}")
    return [*notes, look.note] if look.note else notes


def _notes_on_stream(tally: Tally, stream: Source, model: LoadedModel) -> list[str]:
    notes = []
    if stream.skipped:
        notes.append(f"{stream.skipped} files skipped that are no images")
    if stream.unreadable:
        more = ", ..." if len(stream.unreadable) > MAX_EXAMPLES else ""
        examples = ", ".join(stream.unreadable[:MAX_EXAMPLES])
        notes.append(f"{len(stream.unreadable)} unreadable images left out ({examples}{more})")
    if (
        tally.stream_ended
        and stream.count
        and tally.frames + len(stream.unreadable) < (1 - _MISSING_SHARE) * stream.count
    ):
        notes.append(f"the source ended early, after {tally.frames} of {stream.count} frames")
    rate = model.metadata.frame_rate
    if rate and stream.fps and stream.fps < 0.9 * rate:
        notes.append(f"the model was trained on {rate:g} frames a second, the source has {stream.fps:g}")
    if stream.dropped:
        notes.append(f"{quantity(stream.dropped, 'frame')} dropped to keep up")
    if stream.ended:
        notes.append(stream.ended)
    notes += tally.notes
    if tally.interrupted:
        notes.append("interrupted")
    return notes
