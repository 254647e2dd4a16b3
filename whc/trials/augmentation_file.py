"""`training.augmentation` as the path of a YAML file: one of ours, or an `aug.yaml` of UHD."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whc import plugins
from whc.config import load_yaml
from whc.errors import UsageError, problem
from whc.paths import is_file
from whc.tasks import DEFAULT_TASK, TASK_CHOICES
from whc.training.originals import uhd_augmentation

log = logging.getLogger(__name__)


def filled_in(content: dict[str, Any], folder: Path, source: str) -> dict[str, Any]:
    """A configuration, or the space of one, in which what the named file says takes the place of its path.

    An original's file may also set parameters of the task; those that are written stay. What cannot be translated is
    logged.

    Args:
        content: as `TrialConfig` takes it, not yet checked.
        folder: where the path begins; the working directory comes second.
        source: name of the configuration in messages.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    training = content.get("training")
    named = training.get("augmentation") if isinstance(training, Mapping) else None
    if not isinstance(training, Mapping) or not isinstance(named, str):
        return content
    path = next((candidate for candidate in (folder / named, Path(named)) if is_file(candidate)), None)
    if path is None:
        rule = "must be a mapping, or the path of a YAML file"
        raise UsageError(problem(f"{source}: training.augmentation", rule, named, f"give a path from {folder}"))
    written = load_yaml(path)
    if not uhd_augmentation.is_original(written):
        return {**content, "training": {**training, "augmentation": written}}
    translated = uhd_augmentation.translate(written, str(path))
    for remark in translated.remarks:
        log.warning("%s: %s", path, remark)
    filled = {**content, "training": {**training, "augmentation": translated.augmentation}}
    return _with_task(filled, translated.task, path)


def _with_task(content: dict[str, Any], parameters: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The configuration with parameters of its task, where that has them and they are not written."""
    task = content.get("task", DEFAULT_TASK)
    name, written = (task, {}) if isinstance(task, str) else next(iter(task.items()), (DEFAULT_TASK, {}))
    if name not in plugins.names(TASK_CHOICES.kind) or not parameters:
        return content
    known = plugins.load(TASK_CHOICES.kind, name).Config.model_fields
    for parameter in parameters.keys() - known.keys():
        log.warning("%s: its %s is left out, as task %s has none", path, parameter, name)
    fitting = {parameter: value for parameter, value in parameters.items() if parameter in known}
    return {**content, "task": {name: {**fitting, **(written or {})}}}
