"""States and events of a stream's people, from the law down to what the demo prints and writes."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.data.preprocess import Image
from whc.demo import bundled, overlay
from whc.demo import model as models
from whc.demo.detectors import Detector
from whc.demo.drawing import UNDECIDED
from whc.demo.events import EventOptions, States, events_of
from whc.demo.jsonl import jsonl_file
from whc.demo.outputs import Result
from whc.demo.people import Finder
from whc.demo.run import DemoSummary, run
from whc.demo.runnable import Verdict
from whc.demo.viewing import Found, Sighting
from whc.export import bundle
from whc.tasks.answers import Answers
from whc.tasks.classification.answers import ClassAnswers
from whc.tasks.head_pose.answers import PoseAnswers
from whc.tasks.multi_label.answers import LabelAnswers
from whc.tasks.smoothing import Smoothing

Build = Callable[..., Path]
Grey = Callable[..., Image]
LAW = Smoothing(0.2, 0.4, 0.1)
CONFIG = SimpleNamespace(threshold=0.5, smoothing=LAW, uncertainty=False)
TWO, THREE = ClassAnswers(("calm", "wave"), CONFIG), ClassAnswers(("a", "b", "c"), CONFIG)
SEVERAL = LabelAnswers(("cat", "dog"), CONFIG)


def sighting(output: Any, who: int = 0) -> Sighting:
    """What a model says of a person, of the whole picture if `who` is 0."""
    found = Found(who, 0.9, (0.5, 0.5, 0.2, 0.2)) if who else None
    return Sighting(Verdict(np.asarray(output, np.float32), 1.0), True, None, found)


def follow(states: States, *frames: tuple[float, list[Sighting]]) -> list[tuple[list[str], list[tuple[str, ...]]]]:
    """In each frame the states by name, and the events."""
    found = []
    for moment, sightings in frames:
        followed, gone = states.follow(sightings, moment)
        statuses = [each.status for each in followed if each.status]
        found.append(([each.name for each in statuses], [each.events for each in [*statuses, *gone]]))
    return found


def test_a_wave_begins_and_ends() -> None:
    shares = [0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9, 0.55, 0.45, 0.3, 0.3, 0.3]
    found = follow(States(TWO), *((0.1 * number, [sighting(share)]) for number, share in enumerate(shares)))
    assert [names[0] for names, _ in found] == ["", "", *["calm"] * 5, *["wave"] * 6, "calm", "calm"]
    assert {place: events[0] for place, (_, events) in enumerate(found) if events[0]} == {
        7: ("wave started",),
        13: ("wave ended",),
    }


def test_without_smoothing_each_answer_counts() -> None:
    found = follow(States(TWO, is_smoothed=False), *((0.1 * n, [sighting(s)]) for n, s in enumerate((0.4, 0.6, 0.4))))
    assert found == [(["calm"], [()]), (["wave"], [("wave started",)]), (["calm"], [("wave ended",)])]


def test_of_three_classes_one_ends_as_another_starts() -> None:
    shares = [(0.6, 0.3, 0.1)] * 5 + [(0.45, 0.5, 0.05)] * 5 + [(0.1, 0.8, 0.1)] * 5
    found = follow(States(THREE), *((0.1 * number, [sighting(share)]) for number, share in enumerate(shares)))
    assert [events[0] for _, events in found if events[0]] == [("a started",), ("a ended", "b started")]
    assert found[10][0] == ["a"]  # which was less than 0.2 behind before
    assert found[11][0] == ["b"]


def test_each_label_has_a_state_of_its_own() -> None:
    shares = [(0.9, 0.1)] * 4 + [(0.9, 0.9)] * 4 + [(0.1, 0.1)] * 4
    found = follow(States(SEVERAL), *((0.1 * number, [sighting(share)]) for number, share in enumerate(shares)))
    assert [events[0] for _, events in found if events[0]] == [
        ("cat started",),
        ("dog started",),
        ("cat ended", "dog ended"),
    ]
    assert [names[0] for names, _ in found][3::4] == ["cat", "cat, dog", "no label"]


def test_another_variant_goes_on_with_the_states() -> None:
    slow = ClassAnswers(("calm", "wave"), SimpleNamespace(threshold=0.5, smoothing=Smoothing(0.4, 0.8, 0.1)))
    states = States(TWO)
    follow(states, *((0.1 * number, [sighting(0.9)]) for number in range(5)))
    states.take(slow)
    found = follow(states, *((0.5 + 0.1 * number, [sighting(0.1)]) for number in range(5)))
    assert [events[0] for _, events in found] == [(), (), (), ("wave ended",), ()]


def test_poses_are_no_decisions() -> None:
    found = follow(States(PoseAnswers((), CONFIG)), *((0.1 * number, [sighting([9, 9, 9, 9])]) for number in range(9)))
    assert found == [([""], [()])] * 9


def test_who_is_not_seen_for_as_long_as_the_tracker_remembers_has_gone() -> None:
    states = States(TWO, memory_s=1.0)
    both = [(0.1 * number, [sighting(0.9, 1), sighting(0.1, 2)]) for number in range(5)]
    follow(states, *both)
    alone = [sighting(0.1, 2)]
    assert follow(states, (1.4, alone), (1.41, alone), (1.5, alone)) == [
        (["calm"], [()]),
        (["calm"], [(), ("wave ended",)]),
        (["calm"], [()]),
    ]
    assert follow(states, (9.0, [])) == [([], [])]  # a state without an event ends silently


@given(
    st.sampled_from([(TWO, 0), (THREE, 3), (SEVERAL, 2)]),
    st.lists(st.tuples(st.floats(0.01, 0.8), st.integers(0, 3), st.integers(0, 2**32 - 1)), max_size=60),
)
def test_what_starts_ends_before_it_starts_again(
    kind: tuple[Answers, int], steps: list[tuple[float, int, int]]
) -> None:
    """For two people who come and go, as bits of the second number say."""
    (answers, shares), moment = kind, 0.0
    smoothed, plain = States(answers, memory_s=1.0), States(answers, is_smoothed=False, memory_s=1.0)
    told: dict[tuple[int, str], list[str]] = {}
    counts = {smoothed: 0, plain: 0}
    for gap, present, seed in steps:
        moment += gap
        values = np.random.default_rng(seed).random((2, max(shares, 1)))
        seen = [sighting(values[who] if shares else values[who, 0], who + 1) for who in (0, 1) if present >> who & 1]
        for states in (smoothed, plain):
            followed, gone = states.follow(seen, moment)
            for who, events in events_of(Result(0, moment, np.zeros((1, 1, 3), np.uint8), followed, "", gone)):
                counts[states] += len(events)
                for event in events if states is smoothed else ():
                    label, _, what = event.rpartition(" ")
                    told.setdefault((who, label), []).append(what)
    for happened in told.values():
        assert happened[0] == "started"
        assert all(before != after for before, after in pairwise(happened))
    assert counts[smoothed] <= counts[plain]


def flickering(video: Build, grey: Grey, **options: Any) -> Path:
    """A second each of dark and bright, at 20 frames a second, with a wrong frame in the middle of each."""
    shades = [20] * 10 + [230] + [20] * 9 + [230] * 10 + [20] + [230] * 9 + [20] * 20
    return video([grey(shade) for shade in shades], 20.0, **options)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def watch(
    model: Path, source: Path, out: Path, is_smoothed: bool = True, **options: Any
) -> tuple[DemoSummary, list[str]]:
    printed: list[str] = []
    events = EventOptions(is_smoothed, out.with_suffix(".jsonl"), printed.append)
    return run(model, str(source), csv=out, events=events, **options), printed


def test_a_run_smooths_and_keeps_the_raw_columns(
    brightness_model: Build, video: Build, grey: Grey, tmp_path: Path
) -> None:
    law = {"short_s": 0.2, "long_s": 0.4, "hysteresis": 0.1}
    model = brightness_model(task_config={"threshold": 0.5, "smoothing": law})
    summary, printed = watch(model, flickering(video, grey), tmp_path / "out.csv")
    assert printed == ["1.15 s: bright started", "2.15 s: bright ended"]
    assert summary.events == {"bright started": 1, "bright ended": 1}
    table, frames = rows(tmp_path / "out.csv"), lines(tmp_path / "out.jsonl")
    assert [table[place]["label"] for place in (9, 10, 11, 30)] == ["dark", "bright", "dark", "dark"]
    assert [place for place, row in enumerate(table) if row["state"] == ""] == [0, 1, 2, 3]
    assert [place for place, row in enumerate(table) if row["state"] == "bright"] == list(range(23, 43))
    assert {place: row["event"] for place, row in enumerate(table) if row["event"]} == {
        23: "bright started",
        43: "bright ended",
    }
    for place, (row, frame) in enumerate(zip(table, frames, strict=True)):
        assert (frame["frame"], frame["time"]) == (place, None)
        assert frame["seconds"] == pytest.approx(place / 20, abs=1e-3)
        (person,) = frame["people"]
        assert person.keys() == {"person", "box_score", "box", "answer", "latency_ms", "state", "events"}
        assert person["answer"] == {
            "label": row["label"],
            "probability": float(row["probability"]),
            "positive": int(row["positive"]),
        }
        assert (person["state"] or "", "; ".join(person["events"])) == (row["state"], row["event"])
        assert (person["person"], person["box"], person["box_score"]) == (None, None, None)


def test_no_smoothing_shows_every_change(brightness_model: Build, video: Build, grey: Grey, tmp_path: Path) -> None:
    _, printed = watch(brightness_model(), flickering(video, grey), tmp_path / "out.csv", is_smoothed=False)
    assert printed == [
        "0.50 s: bright started", "0.55 s: bright ended", "1.00 s: bright started", "1.50 s: bright ended",
        "1.55 s: bright started", "2.00 s: bright ended",
    ]  # fmt: skip
    assert all(row["state"] == row["label"] for row in rows(tmp_path / "out.csv"))


def test_a_reader_who_has_gone_ends_the_run_with_whole_files(
    brightness_model: Build, video: Build, grey: Grey, tmp_path: Path
) -> None:
    def refuse(line: str) -> None:
        raise BrokenPipeError(line)

    out = tmp_path / "out.csv"
    run(brightness_model(), str(flickering(video, grey)), csv=out, events=EventOptions(False, None, refuse))
    assert len(rows(out)) == 11  # up to the first event


def test_pictures_have_no_states(brightness_model: Build, image_folder: Build, grey: Grey, tmp_path: Path) -> None:
    folder = image_folder([grey(shade) for shade in (20, 230, 20, 230)])
    summary, printed = watch(brightness_model(), folder, tmp_path / "out.csv")
    assert (printed, summary.events) == ([], {})
    assert all(row["state"] == row["event"] == "" for row in rows(tmp_path / "out.csv"))
    people = [person for frame in lines(tmp_path / "out.jsonl") for person in frame["people"]]
    assert [(person["state"], person["events"]) for person in people] == [(None, [])] * 4


def test_the_state_is_the_title_and_the_bar_is_raw(
    brightness_model: Build, video: Build, grey: Grey, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, float]] = []
    draw = overlay.draw

    def watched(picture: Image, caption: overlay.Caption, *more: Any) -> Image:
        assert caption.reading
        assert caption.reading.bar
        drawn.append((caption.reading.title, caption.reading.bar.share))
        return draw(picture, caption, *more)

    monkeypatch.setattr(overlay, "draw", watched)
    run(brightness_model(), str(flickering(video, grey)))
    assert (drawn[0][0], drawn[10][0], drawn[35][0], drawn[-1][0]) == (UNDECIDED, "dark", "bright", "dark")
    assert drawn[10][1] == pytest.approx(230 / 255, abs=0.03)


def test_boxes_are_lists_in_json(box_model: Build, video: Build, grey: Grey, tmp_path: Path) -> None:
    boxes = [[0.9, 0, 0.25, 0.5, 0.2, 0.4], [0.2, 1, 0.5, 0.5, 0.1, 0.1]]
    watch(box_model(boxes), video([grey(9)] * 3), tmp_path / "out.csv")
    (person,) = lines(tmp_path / "out.jsonl")[-1]["people"]
    assert person["answer"] == {"count": 1, "boxes": [pytest.approx(boxes[0])]}
    assert (person["state"], person["events"]) == (None, [])


def whole_picture(picture: Image) -> np.ndarray:
    """A detector that finds one thing as large as the picture, where it is not black."""
    return np.array([[0.9, 0.5, 0.5, 1, 1]] if picture.max() > 40 else []).reshape(-1, 5)


def test_who_has_gone_has_a_last_row(brightness_model: Build, video: Build, grey: Grey, tmp_path: Path) -> None:
    clip = video([grey(230)] * 10 + [grey(0)] * 15, 10.0)
    finder = Finder(Detector("light", "light", whole_picture), "0")
    _, printed = watch(brightness_model(), clip, tmp_path / "out.csv", region=finder)
    assert printed == ["0.40 s: #1 bright started", "2.00 s: #1 bright ended"]
    (row,) = [row for row in rows(tmp_path / "out.csv") if row["event"] == "bright ended"]
    assert {name: value for name, value in row.items() if value} == {
        "frame": "20",
        "seconds": "2.000",
        "person": "1",
        "event": "bright ended",
    }
    frames = lines(tmp_path / "out.jsonl")
    assert [len(frame["people"]) for frame in frames] == [1] * 10 + [0] * 10 + [1] + [0] * 4
    (gone,) = frames[20]["people"]
    assert {name: value for name, value in gone.items() if value is not None} == {
        "person": 1,
        "events": ["bright ended"],
    }
    assert gone.keys() == frames[0]["people"][0].keys()
    assert frames[0]["people"][0]["box"] == [0.5, 0.5, 1, 1]


def test_a_live_source_has_the_time_of_day(tmp_path: Path) -> None:
    with jsonl_file(tmp_path / "out.jsonl", TWO, is_live=True) as write:
        for moment in (2.0, 3.5):
            write(Result(0, moment, np.zeros((1, 1, 3), np.uint8), [sighting(0.9)]))
    first, second = (datetime.fromisoformat(frame["time"]) for frame in lines(tmp_path / "out.jsonl"))
    assert second - first == timedelta(seconds=1.5)
    assert abs(datetime.now().astimezone() - first) < timedelta(minutes=1)


@pytest.mark.parametrize("parameters", [{}, {"smoothing": {"short_s": 0.1, "long_s": 0.3, "hysteresis": 0.0}}])
def test_a_bundle_smooths_with_the_parameters_of_its_file(
    parameters: dict[str, Any], brightness_model: Build, video: Build, grey: Grey, tmp_path: Path
) -> None:
    """Also of a file of earlier versions, which has none."""
    model = brightness_model(task_config={"threshold": 0.5, **parameters})
    bundle.write(model, tmp_path / "bundle")
    ours, theirs = models.load(model).answers.smoothing, bundled.load(tmp_path / "bundle").answers.smoothing
    expected = Smoothing(**parameters.get("smoothing", {}))
    assert ours == expected
    assert (theirs.short_s, theirs.long_s, theirs.hysteresis) == (
        expected.short_s,
        expected.long_s,
        expected.hysteresis,
    )
    source, out = flickering(video, grey), tmp_path / "out.webm"
    assert bundled.main(tmp_path / "bundle", [str(source), "--save", str(out)]) == 0
    capture = cv2.VideoCapture(str(out))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 60


def test_memory_of_a_state_is_bounded() -> None:
    states = States(ClassAnswers(("calm", "wave"), SimpleNamespace(threshold=0.5)))
    rng = np.random.default_rng(0)
    for number in range(3000):
        states.follow([sighting(rng.random())], number / 30)
    (person,) = states._people.values()
    assert len(person._states[0]._runs) <= math.ceil(0.8 * 30) + 1
