"""What a model says of each person that a detector finds."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from whc.data.preprocess import Image
from whc.demo import detectors
from whc.demo import model as models
from whc.demo.detectors import Detector
from whc.demo.people import Finder, doubt, followers, look_for
from whc.demo.run import run
from whc.errors import UsageError
from whc.records import CropRule

Build = Callable[..., Path]
LEFT, RIGHT = [0.9, 0, 0.25, 0.5, 0.2, 0.4], [0.6, 0, 0.75, 0.5, 0.2, 0.4]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def light_squares(picture: Image) -> np.ndarray:
    """A detector of squares with a white frame; a person each."""
    found = []
    for columns in np.split(np.arange(picture.shape[1]), 2):
        ys, xs = np.nonzero(picture[:, columns].min(axis=2) > 220)
        if len(ys):
            height, width = picture.shape[:2]
            cx, cy = (xs.min() + xs.max() + 1) / 2 + columns[0], (ys.min() + ys.max() + 1) / 2
            w, h = xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()
            found.append([0.9, cx / width, cy / height, w / width, h / height])
    return np.array(found).reshape(-1, 5)


def halves(left: int, right: int) -> Image:
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, :48], picture[:, 48:] = left, right
    return picture


def test_a_label_for_each_person(
    brightness_model: Build, box_model: Build, image_folder: Build, tmp_path: Path
) -> None:
    finder = Finder(detectors.load(str(box_model([LEFT, RIGHT]))), "0")
    folder = image_folder([halves(20, 240), halves(30, 230), halves(240, 20)])
    summary = run(brightness_model(), str(folder), csv=tmp_path / "out.csv", save=tmp_path / "out.webm", region=finder)
    table = rows(tmp_path / "out.csv")
    assert [(row["frame"], row["person"], row["label"]) for row in table] == [
        ("0", "1", "dark"), ("0", "2", "bright"), ("1", "1", "dark"), ("1", "2", "bright"), ("2", "1", "bright"),
        ("2", "2", "dark"),
    ]  # fmt: skip
    assert [float(table[1][name]) for name in ("box_score", "cx", "cy", "w", "h")] == pytest.approx(
        [0.6, 0.75, 0.5, 0.2, 0.4], abs=1e-3
    )
    assert (summary.frames, summary.decisions, summary.shares["bright"]) == (3, 6, 0.5)
    assert [(person.person, person.frames, person.decisions) for person in summary.people] == [(1, 3, 3), (2, 3, 3)]
    assert summary.people[0].shares["bright"] == pytest.approx(1 / 3)
    assert "2 objects: #1 in 3 frames (33% bright), #2 in 3 frames (67% bright)" in summary.line()
    assert summary.notes == []


def test_nothing_found_is_told(brightness_model: Build, box_model: Build, image_folder: Build, tmp_path: Path) -> None:
    finder = Finder(detectors.load(str(box_model([[0.1, 0, 0.5, 0.5, 0.2, 0.2]], labels=["hand"]))), "0.1")
    folder = image_folder([halves(0, 255)] * 2)
    summary = run(brightness_model(), str(folder), csv=tmp_path / "out.csv", save=tmp_path / "out.webm", region=finder)
    assert summary.notes == ["no hand found in any frame"]
    assert (summary.people, summary.decisions, summary.shares) == ([], 0, {})
    table = rows(tmp_path / "out.csv")
    assert [row["frame"] for row in table] == ["0", "1"]
    assert all(value == "" for row in table for name, value in row.items() if name not in ("frame", "seconds"))


def test_each_person_has_frames_of_its_own(change_model: Build, video: Build, tmp_path: Path) -> None:
    """Two squares in white frames: the left one changes from dark to grey, the right one stays."""
    pictures = []
    for number in range(12):
        picture = np.zeros((48, 96, 3), np.uint8)
        for left, shade in ((8, 0 if number < 6 else 150), (64, 80)):
            picture[12:36, left : left + 24] = 255
            picture[14:34, left + 2 : left + 22] = shade
        pictures.append(picture)
    clip, model = video(pictures, 10.0), change_model(frames=3, frame_rate=10.0)
    summary = run(
        model, str(clip), csv=tmp_path / "o.csv", region=Finder(Detector("squares", "square", light_squares), "0")
    )
    table = rows(tmp_path / "o.csv")
    assert {row["person"] for row in table} == {"1", "2"}
    moved = {(row["frame"], row["person"]) for row in table if float(row["probability"] or 0) > 0.2}
    assert moved == {("6", "1"), ("7", "1")}
    assert [person.decisions for person in summary.people] == [10, 10]


def test_a_person_who_comes_back_late_is_another_with_an_empty_window(change_model: Build, video: Build) -> None:
    framed, empty = np.full((48, 96, 3), 255, np.uint8), np.zeros((48, 96, 3), np.uint8)
    framed[:, 48:] = 0
    clip = video([framed] * 4 + [empty] * 20 + [framed] * 2, 10.0)
    finder = Finder(Detector("squares", "square", light_squares), "0")
    summary = run(change_model(frames=3, frame_rate=10.0), str(clip), region=finder)
    assert [(person.person, person.frames, person.decisions) for person in summary.people] == [(1, 4, 2), (2, 2, 0)]
    assert "no square found in 20 of 26 frames" in summary.notes
    assert "#2 in 2 frames (no decision)" in summary.line()


def test_the_margin_is_the_models_then_the_default(brightness_model: Build) -> None:
    face = Detector("face", "face", light_squares)
    default = look_for(models.load(brightness_model()), Finder(face))
    assert default.rule == CropRule(detector="face", scale=1.4)
    assert default.note.startswith("crops with the default margin of 0.2, as the model does not tell its own")
    learnt = CropRule(detector="face", scale=0.8, offset_y=0.1)
    own = models.load(brightness_model(crop=learnt))
    assert look_for(own, Finder(face)) == (face, learnt, "")
    assert look_for(own, Finder(face, "0.5")).rule == CropRule(detector="face", scale=2.0)
    other = look_for(own, Finder(Detector("yunet.onnx", "face", light_squares)))
    assert other.rule == learnt
    assert other.note == "the training crops were cut around the boxes of face, which may differ"


def test_the_crop_has_the_shape_of_the_input(brightness_model: Build) -> None:
    model = models.load(brightness_model())
    wide = models.LoadedModel(model._session, model.metadata.model_copy(update={"width": 32}), model.task)
    assert look_for(wide, Finder(Detector("face", "face", light_squares))).rule.aspect == 2


def test_a_detector_does_not_look_at_crops(box_model: Build) -> None:
    detector = detectors.load(str(box_model([LEFT])))
    with pytest.raises(
        UsageError, match=r"--model: .*must say something of each box, not find boxes itself, got 'task d"
    ):
        look_for(models.load(box_model([LEFT])), Finder(detector))


@pytest.mark.parametrize(("size", "doubts"), [((48, 48), False), ((48, 72), False), ((48, 80), True), ((90, 48), True)])
def test_a_picture_of_another_shape_is_doubted(
    brightness_model: Build, image_folder: Build, grey: Callable[..., Image], size: tuple[int, int], doubts: bool
) -> None:
    summary = run(brightness_model(), str(image_folder([grey(200, *size)])))
    height, width = size
    expected = [f"do not trust these answers: the complete picture of {width}x{height} was squeezed into 16x16"]
    assert [note.partition(";")[0] for note in summary.notes] == (expected if doubts else [])
    assert all("--detect NAME" in note for note in summary.notes)


def test_a_model_of_crops_doubts_every_complete_picture(brightness_model: Build, box_model: Build) -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    of_crops = models.load(brightness_model(crop=CropRule(detector="face")))
    assert doubt(picture, of_crops).startswith("the model learnt crops around the boxes of face")
    assert doubt(np.zeros((9, 90, 3), np.uint8), models.load(box_model([LEFT]))) == ""


def test_followers_begin_anew_with_each_clip() -> None:
    follow = followers(Detector("squares", "square", light_squares), fps=0.5)
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[10:30, 10:30] = 255
    for _ in range(2):
        clip = follow()
        assert [[who for who, _ in clip(picture, seconds)] for seconds in (0.0, 2.0, 4.0)] == [[1], [1], [1]]
