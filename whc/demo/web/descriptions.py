"""What the page must know of models and detectors, as JSON values for `engine/engine.js`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whc import plugins
from whc.data.cropping import margin_rule
from whc.demo import detectors
from whc.demo.detectors import Form, Settings, whc_model
from whc.demo.model import task_of
from whc.demo.web.cascades import face_cascades
from whc.records import ModelMetadata
from whc.runtimes import onnx_file
from whc.tasks import Task


def model_description(path: Path, margin: str | None = None) -> dict[str, Any]:
    """A model as `openModel` takes it: its `name`, and its `metadata` with all parameters of the task.

    Args:
        path: an ONNX file exported by whc.
        margin: of crops, as `margin_rule` reads it, in the place of what the model learnt; None: as it learnt them.

    Raises:
        ArtifactError: the file is missing, is not ONNX, or whc did not export it or does not support it.
        UsageError: the margin is wrong.
    """
    metadata, task = _checked(path)
    crop = metadata.crop
    if margin is not None:
        crop = margin_rule(margin, "", crop.aspect if crop else metadata.width / metadata.height)
    return {"name": path.stem, "metadata": _values(metadata.model_copy(update={"crop": crop}), task)}


def detector_description(source: str, settings: Settings | None = None) -> dict[str, Any]:
    """A detector as `openDetector` takes it.

    Its `name`, its `kind`, `what` it finds in a word, the only class to find as `label` (null: all), parameters as
    `config`, the shape of its network's input as `form.shape` (an open size is a name or null), and the `metadata` of a
    model of whc (else null).

    Args:
        source: name of a detector that needs no file, or path of an ONNX file.
        settings: the user's settings.

    Raises:
        ArtifactError: the file is missing, or is no ONNX file.
        UsageError: the file is of no form that is read, or has no such class.
    """
    label = (settings or Settings()).label
    kind, form = detectors.identify(source, label)
    what, metadata = _ours(form, label) if form and form.is_ours else ("face", None)
    return {
        "name": Path(source).name,
        "kind": kind,
        "what": what,
        "label": label,
        "config": plugins.load(detectors.KIND, kind).Config().model_dump(mode="json"),
        "form": {"shape": list(form.shape)} if form else None,
        "metadata": metadata,
    }


def detector_bytes(source: str) -> bytes:
    """What `openDetector` takes beside the description: the detector's file, or of `face` its cascades.

    Raises:
        ArtifactError: OpenCV has no cascades.
    """
    if source in detectors.built_in_names():
        return json.dumps(face_cascades()).encode()
    return Path(source).read_bytes()


def _ours(form: Form, label: str | None) -> tuple[str, dict[str, Any]]:
    metadata, task = _checked(form.path)
    what = whc_model.what_it_finds(task, metadata, form.path, label)
    return what, _values(metadata, task)


def _checked(path: Path) -> tuple[ModelMetadata, Task]:
    file, _ = onnx_file.read(path)
    metadata = file.metadata()
    return metadata, task_of(metadata, file.input_shape, path)


def _values(metadata: ModelMetadata, task: Task) -> dict[str, Any]:
    # A file may lack parameters that have a default.
    config = task.config.model_dump(mode="json")
    if "smoothing" in type(task.config).model_fields:
        config["smoothing"] = asdict(task.smoothing)
    return metadata.model_dump(mode="json", by_alias=True) | {"task_config": config}
