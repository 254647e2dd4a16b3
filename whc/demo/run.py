"""The demo's loop: reads frames, draws verdicts on them, writes files and returns a summary."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from whc.data.pictures import printable
from whc.demo import model as models
from whc.demo import outputs, overlay
from whc.demo.ending import Ending, ends_on_signal
from whc.demo.model import LoadedModel, Verdict
from whc.demo.outputs import Result, Write
from whc.demo.regions import WHOLE_FRAME, Region
from whc.demo.sources import Source, open_source
from whc.demo.window import Window
from whc.errors import UsageError
from whc.latency import first_pass

_SPEED_FRAMES = 30  # frames over which the drawn speed is averaged
MAX_EXAMPLES = 5  # unreadable images that are named
_MISSING_SHARE = 0.1  # a note tells of more missing frames; a video's header may be wrong by one or two frames


class DemoSummary(BaseModel):
    """Summary of a run.

    `seconds` is wall time, `fps` the frames a second in that time, with drawing and writing. `latency_ms_p50` is the
    median time of a decision (packing and forward pass), None without a decision. `shares` are the shares of the
    decisions by answer, 0..1. `headline` names the answers in the line for people (empty: all answers that occurred).
    `notes` tell the user of skipped files and the like.
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
    save: str | None
    csv: str | None
    interrupted: bool
    notes: list[str]

    def line(self) -> str:
        """The summary for people, in one line."""
        parts = [f"{self.source}: {self.frames} frames in {self.seconds:.1f} s ({self.fps:.0f} fps)"]
        if self.latency_ms_p50 is not None:
            answers = self.headline or [answer for answer, share in self.shares.items() if share]
            shares = ", ".join(f"{self.shares[answer]:.0%} {answer}" for answer in answers)
            parts.append(f"{self.decisions} decisions, {shares}")
            parts.append(f"median latency {self.latency_ms_p50:.2f} ms")
        parts += [f"wrote {path}" for path in (self.save, self.csv) if path]
        return "; ".join((*parts, *self.notes))


def run(
    model: Path,
    source: str | None = None,
    *,
    save: Path | None = None,
    csv: Path | None = None,
    display: bool = False,
    region: Region = WHOLE_FRAME,
    runtime: str = "onnxruntime_cpu",
    threads: int = 1,
    wait_s: float = first_pass.WAIT_S,
) -> DemoSummary:
    """Run a model on a source until the source ends, the window is closed, or Ctrl-C, SIGTERM or SIGHUP.

    The files are completed in each case.

    Args:
        model: an ONNX file exported by whc.
        source: a camera's number, a video, a picture, a folder of pictures; None for a rendered clip.
        save: WebM or MP4 to write, with each frame at its time (10 frames a second for pictures).
        csv: table to write, with a row for each frame.
        display: whether a window shows the frames, those of files and clips at their own speed.
        region: the part of each frame that the model sees.
        runtime: name of a runtime plug-in.
        threads: threads of one forward pass.
        wait_s: time limit in seconds of the model's first pass.

    Raises:
        ArtifactError: the model cannot be used.
        DataError: the source cannot be used.
        UsageError: an output cannot be written, or the runtime does not exist.
    """
    if save and source and _is_same_file(save, Path(source)):
        raise UsageError(f"{save}: must be another file than the source, got the same; choose another path")
    loaded = models.load(model, runtime, threads, wait_s)
    with ExitStack() as stack:
        tally = _Tally(stack.enter_context(ends_on_signal()))
        stream = stack.enter_context(open_source(source))
        canvas = overlay.canvas_size(*stream.size)
        writes: list[Write] = []
        if save:
            writes.append(stack.enter_context(outputs.video_file(save, canvas, stream.rate())))
        if csv:
            writes.append(stack.enter_context(outputs.csv_file(csv, loaded.task)))
        if display:
            writes.append(
                stack.enter_context(outputs.screen(f"whc: {printable(model.name)}", is_paced=not stream.is_live))
            )
        tally.follow(_results(loaded, stream, region, canvas), writes)
        return _summary(tally, stream, loaded, save, csv)


def _is_same_file(first_path: Path, second_path: Path) -> bool:
    try:
        return first_path.samefile(second_path)
    except OSError:  # at least one does not exist
        return False


def _results(model: LoadedModel, stream: Source, region: Region, canvas: overlay.Size) -> Iterator[Result]:
    """Each frame of the stream with the latest verdict drawn on it; a frame that enters the window gets a new one."""
    window = Window(model.metadata.frames, model.metadata.frame_rate, stream.fps)
    verdict: Verdict | None = None
    instants: deque[float] = deque(maxlen=_SPEED_FRAMES + 1)
    for number, (picture, seconds) in enumerate(stream):
        is_fresh = False
        if window.takes(seconds):
            window.push(model.prepare(region.crop(picture)))
            if not window.missing:
                verdict, is_fresh = model.decide(window.stack()), True
        instants.append(time.perf_counter())
        fps = (len(instants) - 1) / (instants[-1] - instants[0]) if len(instants) > 1 else None
        box = None if region == WHOLE_FRAME else region.pixels(*picture.shape[:2])
        drawing = overlay.draw(picture, _caption(model, verdict, fps), canvas, box)
        yield Result(number, seconds, drawing, verdict, is_fresh)


def _caption(model: LoadedModel, verdict: Verdict | None, fps: float | None) -> overlay.Caption:
    return overlay.Caption(None if verdict is None else model.task.reading(verdict.output), fps)


class _Tally:
    """Passes results to the outputs and counts them."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending
        self.frames = 0
        self.seconds = 0.0
        self.verdicts: list[Verdict] = []
        self.stream_ended = False  # False too if the user ended the run

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run."""
        return self._ending.signal != 0

    def follow(self, results: Iterator[Result], writes: list[Write]) -> None:
        """Pass results to all outputs until an output stops the run, or until a signal."""
        started = time.perf_counter()
        for result in results:
            go_on = [write(result) for write in writes]
            self.frames += 1
            if result.is_fresh and result.verdict:
                self.verdicts.append(result.verdict)
            if self.interrupted or not all(go_on):
                break
        else:
            self.stream_ended = True
        self.seconds = time.perf_counter() - started


def _notes(tally: _Tally, stream: Source, model: LoadedModel, save: Path | None) -> list[str]:
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
    if not tally.verdicts:
        notes.append(f"no decision: the model needs {model.metadata.frames} frames")
    if save and save.suffix.lower() == ".mp4":
        notes.append(f"browsers do not play this MP4 (--save {save.with_suffix('.webm').name}: they do)")
    if tally.interrupted:
        notes.append("interrupted")
    return notes


def _summary(tally: _Tally, stream: Source, model: LoadedModel, save: Path | None, csv: Path | None) -> DemoSummary:
    verdicts, task = tally.verdicts, model.task
    counts = task.answer_counts(np.stack([verdict.output for verdict in verdicts])) if verdicts else {}
    return DemoSummary(
        model=str(model.path),
        source=stream.name,
        headline=list(task.headline_answers),
        frames=tally.frames,
        decisions=len(verdicts),
        seconds=tally.seconds,
        fps=tally.frames / tally.seconds if tally.seconds else 0.0,
        latency_ms_p50=statistics.median(verdict.latency_ms for verdict in verdicts) if verdicts else None,
        shares={answer: count / len(verdicts) for answer, count in counts.items()},
        save=str(save) if save else None,
        csv=str(csv) if csv else None,
        interrupted=tally.interrupted,
        notes=_notes(tally, stream, model, save),
    )
