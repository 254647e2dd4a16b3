"""Detectors: one file each. A detector finds the boxes whose crops a model classifies.

A file defines `Config`, `NEEDS_FILE`, `FORM` (in words), `reads(form) -> bool` (whether an ONNX file is of its form)
and `load(form, config, settings) -> Detector`. A detector that needs no file is chosen by its plug-in's name, and gets
no form; the others are chosen by the inputs and outputs of their ONNX file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whc import plugins
from whc.data.boxes import overlaps
from whc.data.preprocess import Image
from whc.errors import UsageError, problem
from whc.latency import first_pass
from whc.runtimes import onnx_file

KIND = "demo.detectors"
MIN_SIDE, MAX_SIDE = 1e-4, 1.5  # shares of the picture; other boxes are wrong

Boxes = NDArray[np.float64]
"""(M, 5): score 0..1, cx, cy, w, h in shares of the picture, best first."""
Shape = tuple[int | str | None, ...]


@dataclass(frozen=True)
class Detector:
    """What finds boxes: `name` as the user gave it, `what` it finds in a word, and `find`.

    `find` takes a picture, RGB uint8 (H, W, 3) of any size, and returns `Boxes`.
    """

    name: str
    what: str
    find: Callable[[Image], Boxes]


@dataclass(frozen=True)
class Form:
    """Inputs and outputs of an ONNX file: `shape` of the only input, shapes of the outputs by name, metadata."""

    path: Path
    shape: Shape
    outputs: Mapping[str, Shape]
    properties: Mapping[str, str]

    @property
    def is_ours(self) -> bool:
        """Whether whc wrote the file."""
        return any(name.startswith("whc.") for name in self.properties)


@dataclass(frozen=True)
class Settings:
    """What a user sets for each detector.

    `label` is the only class to find, None for all. `threads` are those of one forward pass, `wait_s` is the time limit
    in seconds of the first pass.
    """

    label: str | None = None
    threads: int = 1
    wait_s: float = first_pass.WAIT_S


def built_in_names() -> tuple[str, ...]:
    """Names of the detectors that need no file."""
    return tuple(name for name in plugins.names(KIND) if not plugins.load(KIND, name).NEEDS_FILE)


def load(source: str, settings: Settings | None = None) -> Detector:
    """Load a detector.

    Args:
        source: name of a detector that needs no file, or path of an ONNX file.
        settings: the user's settings.

    Raises:
        ArtifactError: the file is missing, or is no ONNX file that can be run.
        UsageError: the file is of no form that is read, or has no such class.
    """
    settings = settings or Settings()
    name, form = identify(source, settings.label)
    plugin = plugins.load(KIND, name)
    detector: Detector = plugin.load(form, plugin.Config(), settings)
    return detector


def identify(source: str, label: str | None = None) -> tuple[str, Form | None]:
    """The plug-in for a detector, given as to `load`, and the form of its file, None if it needs none.

    Raises:
        ArtifactError: the file is missing, or is no ONNX file.
        UsageError: the file is of no form that is read, or a class is given to a detector that has none.
    """
    form = None if source in built_in_names() else _form(Path(source))
    if label is not None and not (form and form.is_ours):
        rule = "must be a class of a whc detection model"
        raise UsageError(problem("--detect-class", rule, label, f"leave it out with --detect {source}"))
    return _plugin_name(form) if form else source, form


def _form(path: Path) -> Form:
    file, model = onnx_file.read(path)
    outputs = {
        item.name: tuple(
            size.dim_value if size.HasField("dim_value") else size.dim_param or None
            for size in item.type.tensor_type.shape.dim
        )
        for item in model.graph.output
    }
    return Form(path, file.shape, outputs, file.properties)


def _plugin_name(form: Form) -> str:
    modules = {name: plugins.load(KIND, name) for name in plugins.names(KIND)}
    found = [name for name, module in modules.items() if module.NEEDS_FILE and module.reads(form)]
    if found:
        return found[0]
    forms = ", ".join(module.FORM for module in modules.values() if module.NEEDS_FILE)
    rule = f"must be {' or '.join(built_in_names())}, or a file of a form that is read ({forms})"
    shapes = f"input {list(form.shape)} and {len(form.outputs)} outputs"
    raise UsageError(f"--detect: {form.path}: {rule}, got {shapes}; choose another detector")


def best_boxes(boxes: Boxes, max_overlap: float) -> Boxes:
    """Boxes sorted by score, without those that overlap a better one by more than `max_overlap` (IoU), or are empty."""
    boxes = boxes[np.isfinite(boxes).all(1) & ((boxes[:, 3:] > MIN_SIDE) & (boxes[:, 3:] < MAX_SIDE)).all(1)]
    boxes = boxes[np.argsort(-boxes[:, 0], kind="stable")]
    is_kept = np.ones(len(boxes), np.bool_)
    shared = overlaps(boxes[:, 1:], boxes[:, 1:])
    for i in range(len(boxes)):
        if is_kept[i]:
            is_kept[i + 1 :] &= shared[i, i + 1 :] <= max_overlap
    return boxes[is_kept]
