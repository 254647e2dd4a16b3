"""A run as JSON Lines: one object a line for each frame, for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from whc.demo.outputs import Result, Write, text_file
from whc.demo.viewing import Sighting
from whc.tasks.answers import Answers


@contextmanager
def jsonl_file(path: Path, answers: Answers, is_live: bool) -> Iterator[Write]:
    """A file of JSON objects, one a line for each frame.

    A frame has `frame` (its number from 0), `seconds` (its time in the stream), `time` (of a live source, in ISO 8601
    with the zone; else null) and `people`, a list, empty where nobody is found; without a detector it holds one. Each
    has `person` (the identity), `box_score` and `box` (cx, cy, w, h in shares of the frame), all null without a
    detector; `answer` (the task's columns for frames, not smoothed; null before the first); `latency_ms` (null where
    the answer is of an earlier frame); `state` (null before the first); and `events`, a list. A person who has gone is
    there once more if that ends a state: all but `person` and `events` are null then.

    Args:
        path: ends in .jsonl.
        answers: those of the model.
        is_live: whether the frames are of now.

    Raises:
        UsageError: the file cannot be written.
    """
    began: datetime | None = None
    with text_file(path, ".jsonl") as write_text:

        def write(result: Result) -> bool:
            nonlocal began
            if is_live and began is None:
                began = datetime.now().astimezone() - timedelta(seconds=result.seconds)
            write_text(json.dumps(_frame(result, answers, began), ensure_ascii=False) + "\n")
            return True

        yield write


def _frame(result: Result, answers: Answers, began: datetime | None) -> dict[str, Any]:
    time = began and (began + timedelta(seconds=result.seconds)).isoformat(timespec="milliseconds")
    people = [_person(sighting, answers) for sighting in result.sightings]
    empty = dict.fromkeys(("box_score", "box", "answer", "latency_ms", "state"))
    people += [{"person": who, **empty, "events": list(events)} for who, events in result.gone]
    return {"frame": result.number, "seconds": round(result.seconds, 3), "time": time, "people": people}


def _person(sighting: Sighting, answers: Answers) -> dict[str, Any]:
    found, verdict, status = sighting.found, sighting.verdict, sighting.status
    return {
        "person": found and found.identity,
        "box_score": found and round(found.score, 3),
        "box": found and [round(share, 6) for share in found.box],
        "answer": verdict and answers.frame_values(verdict.output),
        "latency_ms": round(verdict.latency_ms, 3) if verdict and sighting.is_fresh else None,
        "state": (status and status.name) or None,
        "events": list(status.events) if status else [],
    }
