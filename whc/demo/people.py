"""What the model says of each person that a detector finds in a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import NamedTuple

from whc.data.cropping import DEFAULT_MARGIN, Followed, crop_edges, cut, margin_rule
from whc.data.preprocess import Image
from whc.demo.detectors import Boxes, Detector
from whc.demo.model import LoadedModel
from whc.demo.tracking import Tracker, memory_seconds
from whc.demo.viewing import Found, Sighting, Viewer, Watch
from whc.errors import UsageError, problem
from whc.records import CropRule

MAX_ASPECT_RATIO = 1.5  # of a picture to the model's input; a wider picture is no crop


class Finder(NamedTuple):
    """What finds the crops that the model sees, and their margin as `margin_rule` reads it; None: as the model says."""

    detector: Detector
    margin: str | None = None


class Look(NamedTuple):
    """How people are found: the detector, how the crops around its boxes are cut, and what the user must know of it."""

    detector: Detector
    rule: CropRule
    note: str = ""


def look_for(model: LoadedModel, finder: Finder) -> Look:
    """How a model looks at what a detector finds: at crops such as those that it learnt, as far as it knows them.

    Raises:
        UsageError: the model finds boxes itself, or the margin is wrong.
    """
    metadata, (detector, margin) = model.metadata, finder
    if not sees_crops(model):
        rule, next_step = "must say something of each box, not find boxes itself", "leave out --detect, or swap the two"
        raise UsageError(problem(f"--model: {model.path}", rule, f"task {metadata.task}", next_step))
    learnt = metadata.crop
    aspect = learnt.aspect if learnt else metadata.width / metadata.height
    if margin is not None:
        return Look(detector, margin_rule(margin, detector.name, aspect))
    if learnt is None:
        advice = "`whc data info DATA --detect NAME` measures the right --margin on the training data"
        note = f"crops with the default margin of {DEFAULT_MARGIN:g}, as the model does not tell its own: {advice}"
        return Look(detector, margin_rule(None, detector.name, aspect), note)
    is_other = learnt.detector not in ("", detector.name)
    note = f"the training crops were cut around the boxes of {learnt.detector}, which may differ" if is_other else ""
    return Look(detector, learnt, note)


class People:
    """The people of one stream: a detector finds them, a tracker knows them again."""

    def __init__(self, detector: Detector, fps: float | None) -> None:
        self._detector = detector
        self._tracker = Tracker(memory_seconds(fps))

    @property
    def remembered(self) -> set[int]:
        """Identities that may come back."""
        return self._tracker.identities

    def find(self, picture: Image, seconds: float) -> list[Found]:
        """The people in the next frame, best first."""
        boxes = self._detector.find(picture)
        identities = self._tracker.follow(boxes[:, 1:], seconds)
        return [Found(who, score, tuple(box)) for who, (score, *box) in zip(identities, boxes.tolist(), strict=True)]


def followers(detector: Detector, fps: float) -> Callable[[], Followed]:
    """What follows the people of clips for `whc data build`, as the demo does, in frames at `fps` frames a second.

    Clips may be read by several threads; the detector works for one at a time.
    """
    lock = Lock()
    one_by_one = replace(detector, find=partial(_locked, lock, detector))

    def follow() -> Followed:
        people = People(one_by_one, fps)
        return lambda picture, seconds: [(found.identity, found.box) for found in people.find(picture, seconds)]

    return follow


def _locked(lock: Lock, detector: Detector, picture: Image) -> Boxes:
    with lock:
        return detector.find(picture)


def watch_people(model: LoadedModel, look: Look, fps: float | None) -> Watch:
    """Look at each person that a detector finds; each has a window of frames of its own."""
    people = People(look.detector, fps)
    viewers: dict[int, Viewer] = {}

    def watch(picture: Image, seconds: float) -> list[Sighting]:
        sightings = []
        for found in people.find(picture, seconds):
            edges = crop_edges(found.box, (picture.shape[0], picture.shape[1]), look.rule)
            viewer = viewers.setdefault(found.identity, Viewer(model, fps))
            sightings.append(Sighting(*viewer.see(cut(picture, edges), seconds), edges, found))
        for gone in viewers.keys() - people.remembered:
            del viewers[gone]
        return sightings

    return watch


def sees_crops(model: LoadedModel) -> bool:
    """Whether the model looks at one object in a crop: not where it finds boxes in the complete picture."""
    return model.task.head_gives != "boxes"


def doubt(picture: Image, model: LoadedModel) -> str:
    """Why the complete picture (H, W, 3) is hardly what the model learnt; empty if nothing speaks against it."""
    if not sees_crops(model):
        return ""
    height, width = picture.shape[:2]
    metadata = model.metadata
    if metadata.crop:
        detector = metadata.crop.detector or "a detector"
        return f"the model learnt crops around the boxes of {detector}, and saw the complete picture"
    ratio = width * metadata.height / (height * metadata.width)
    if 1 / MAX_ASPECT_RATIO <= ratio <= MAX_ASPECT_RATIO:
        return ""
    return f"the complete picture of {width}x{height} was squeezed into {metadata.width}x{metadata.height}"
