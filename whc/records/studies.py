"""Studies: `study.yaml`, and the places of a study and its data."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, PlainSerializer, model_validator

from whc.config import dump_yaml, fingerprint, load_yaml, validate
from whc.errors import StudyError, UsageError, problem
from whc.plugins import Choice, ChoiceOf
from whc.records import first_schema
from whc.records.files import FolderName, Positive, Record, Share
from whc.records.metric import Metric
from whc.records.writing import write_atomic

REMOVED_FIELDS = ("scheduler", "drop_slower", "patience")
"""Fields that only studies made before have: they are not read."""

SamplerName = Literal["auto", "tpe", "random"]
REMOVED_SAMPLERS = ("nsga2", "gp")
"""Samplers that only studies made before have: such a study goes on with `auto`."""


def _as_list(value: object) -> object:
    """A single name as a list, null as an empty list; any other value unchanged."""
    return [value] if isinstance(value, str) else [] if value is None else value


def _name_or_list(names: list[str]) -> str | list[str]:
    return names[0] if len(names) == 1 else names


FileNames = Annotated[list[str], BeforeValidator(_as_list), PlainSerializer(_name_or_list)]
"""Names of files, written as a single name or as a list."""


class TimerRecord(Record):
    """The device that times a study's networks: its address when the search went on last, and its runtime.

    The address is empty where nodes of the Ray cluster time, those with the resource `whc_timer`.
    """

    address: str
    runtime: str | dict[str, Any]


class StudyRecord(Record):
    """`study.yaml`: the settings of a search, resolved when it began; `--resume` and the factory read them.

    `space` is the space as written. `data` holds the paths of the data set's files. Paths inside the project (the
    folder of `runs/`) are relative to it, so that a moved or copied project finds its own files. `reference_ms` is the
    reference network's milliseconds on `host` when idle. `limits` are by name (`latency_ms`, `size_bytes`, `params`).
    `floor` is the score of the best constant answer on the validation split. `metric` is that of the scores, `labels`
    those of the data, `min_over_floor` the recipe's minimum above the floor. `sampler`, `minutes` and `stop_below`
    are those of the search file. The sampler also learns from the studies of `warm_start`. `storage` is where workers
    leave trials if they share no folder with the driver. `timer` is the device that times networks, and `host` its
    host; None where the search itself does.
    """

    study: FolderName
    space_name: str
    space: dict[str, Any]
    data: FileNames = Field(min_length=1)
    data_fingerprint: str
    recipe: str
    trials: int = Field(ge=1)
    workers: int = Field(ge=1)
    runtime: str | dict[str, Any]
    limits: dict[str, Positive]
    seed: int = Field(ge=0)
    reference_ms: Positive
    floor: Share = Field(validation_alias=AliasChoices("floor", "constant_f1"))
    metric: Metric = first_schema.FIRST_METRIC
    labels: list[str] = []
    min_over_floor: Share = 0.05
    host: str
    code_version: str
    sampler: SamplerName = "auto"
    minutes: Positive | None = None
    stop_below: Share | None = None
    warm_start: list[FolderName] = []
    storage: str | None = None
    timer: TimerRecord | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_removed_fields(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        kept = {name: value for name, value in content.items() if name not in REMOVED_FIELDS}
        return {**kept, "sampler": "auto"} if kept.get("sampler") in REMOVED_SAMPLERS else kept

    @property
    def chosen_runtime(self) -> Choice:
        """The runtime plug-in with its parameters.

        Raises:
            StudyError: there is no runtime of that name, or its parameters are wrong.
        """
        try:
            return ChoiceOf("runtimes").parse(self.runtime)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise StudyError(f"study {self.study}: runtime: {reason}; put study.yaml back as it was") from error

    @property
    def identity(self) -> str:
        """A hash that other studies of this name do not share: of what stays when a search is resumed."""
        fields = {"study", "space", "data_fingerprint", "reference_ms", "host", "seed"}
        return fingerprint(self.model_dump(mode="json", include=fields))

    def save(self, folder: Path) -> None:
        """Write study.yaml."""
        write_atomic(folder / "study.yaml", dump_yaml(self.model_dump(mode="json")))

    @classmethod
    def load(cls, folder: Path) -> StudyRecord:
        """Read study.yaml; raises UsageError if it is damaged."""
        path = folder / "study.yaml"
        return validate(cls, load_yaml(path), str(path))

    def data_paths(self, folder: Path) -> list[Path]:
        """Paths of the data set's files, for the present place of the study's folder."""
        return [_data_path(Path(name), _project(folder)) for name in self.data]

    @property
    def data_shown(self) -> str:
        """The data set's files in one line."""
        return ", ".join(self.data)


def _data_path(stored: Path, project: Path) -> Path:
    path = project / stored
    if path.exists():
        return path
    # An absolute path, stored before the project was moved; the end of the path may still be right.
    candidates = (project.joinpath(*stored.parts[start:]) for start in range(1, len(stored.parts)))
    return next((candidate for candidate in candidates if candidate.exists()), path)


def data_name(data: Path, folder: Path) -> str:
    """The name of a data set in the study.yaml of `folder`."""
    project = _project(folder)
    for path, base in ((data.absolute(), project), (data.resolve(), project.resolve())):
        if path.is_relative_to(base) and ".." not in path.parts:
            return str(path.relative_to(base))
    return str(data.resolve())


def _project(folder: Path) -> Path:
    return folder.absolute().parent.parent


def study_folder(runs: Path, name: str) -> Path:
    """The folder of a study, never outside `runs`.

    Raises:
        UsageError: the name holds anything but letters, digits, `_`, `-` and `.`, or starts with `.`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", name):
        rule = "must be letters, digits, '_', '-' and '.' (64 at most)"
        raise UsageError(problem("study name", rule, name, "choose another name"))
    return runs / name


def existing_study(runs: Path, name: str | None) -> Path:
    """The folder of an existing study; the newest study if no name is given.

    Raises:
        StudyError: there is no such study; the message names a similar one, or lists the existing studies.
    """
    study_files = sorted(runs.glob("*/study.yaml"), key=lambda path: path.stat().st_mtime)
    if name is None:
        if not study_files:
            raise StudyError(f"{runs}: must hold a study, got none; run `whc search --space search_spaces/tiny.yaml`")
        return study_files[-1].parent
    folder = study_folder(runs, name)
    if not (folder / "study.yaml").is_file():
        names = [path.parent.name for path in study_files]
        similar = get_close_matches(name, names, n=1)
        next_step = f"did you mean {similar[0]!r}?" if similar else f"studies here: {', '.join(names) or 'none'}"
        raise StudyError(problem(str(runs), "no such study", name, next_step))
    return folder
