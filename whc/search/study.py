"""A search file, and the study that it starts or goes on with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from whc import records
from whc.config import Settings, load_yaml, shipped, validate
from whc.errors import StudyError, UsageError, problem
from whc.plugins import Choice, ChoiceOf
from whc.records import StudyRecord
from whc.search import space
from whc.trials.run import Limits

RUNTIMES = ChoiceOf("runtimes")


class SearchFile(Settings):
    """A file in search_spaces/.

    `data` is used without `--data`; `recipe` names the file in factory/ that turns this search into a ladder; `trials`
    counts all that end, rejected ones too; `workers` is how many train at once (default: one for each core).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=40)
    data: str | None = None
    recipe: str
    trials: int = Field(20, ge=1)
    workers: int | None = Field(None, ge=1)
    runtime: Annotated[Choice, RUNTIMES] = RUNTIMES.default("onnxruntime_cpu")
    limits: Limits = Limits()
    seed: int = Field(0, ge=0)
    space: dict[str, Any]


def read(path: Path) -> tuple[SearchFile, space.Section]:
    """Read and check a search file.

    Raises:
        UsageError: every error in the file, one a line.
    """
    content = load_yaml(path)
    raw = content.get("space")
    problems = []
    try:
        settings = validate(SearchFile, content, str(path))
    except UsageError as error:
        problems.append(str(error))
    try:
        tree = space.compile_space(raw if isinstance(raw, dict) else {}, str(path))
    except UsageError as error:
        problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    shipped("factory", settings.recipe)  # a recipe misspelt is better told now than after the search
    return settings, tree


def new_name(runs: Path, space_name: str) -> str:
    """The first free name `<space>-<number>`."""
    number = 1
    while (runs / f"{space_name}-{number}" / "study.yaml").exists():
        number += 1
    return f"{space_name}-{number}"


def begin(settings: SearchFile, name: str, data: Path, facts: Mapping[str, Any]) -> StudyRecord:
    """The record of a new study; `facts` are what was found at its start (host, fingerprint, reference_ms ...)."""
    return StudyRecord(
        study=name,
        space_name=settings.name,
        space=settings.space,
        data=str(data.resolve()),
        recipe=settings.recipe,
        trials=settings.trials,
        workers=settings.workers or os.cpu_count() or 1,
        runtime=settings.runtime.dump(),
        limits=settings.limits.model_dump(exclude_none=True),
        seed=settings.seed,
        code_version=records.code_version(),
        **facts,
    )


def check_same(study: StudyRecord, settings: SearchFile | None, fingerprint: str) -> None:
    """Refuse to go on with a study whose space or data have changed.

    Raises:
        StudyError: naming what differs.
    """
    if settings is not None and settings.space != study.space:
        changed = sorted(
            key for key in settings.space.keys() | study.space.keys() if settings.space.get(key) != study.space.get(key)
        )
        raise StudyError(problem(study.study, "the space must be the one it began with", changed, "start a new study"))
    if fingerprint != study.data_fingerprint:
        rule = f"the data must be the one it began with ({study.data_fingerprint})"
        raise StudyError(problem(study.study, rule, fingerprint, "give that data set, or start a new study"))
