"""A search file, and the study that it starts or goes on with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

from pydantic import Field, field_validator

from whc import records
from whc.config import Settings, shipped, validate
from whc.errors import StudyError, UsageError, problem
from whc.plugins import Choice, ChoiceOf
from whc.records import FileNames, SamplerName, StudyRecord
from whc.runtimes import reads
from whc.search.space import include, space
from whc.trials.run import Limits

RUNTIME_CHOICE = ChoiceOf("runtimes")
DEFAULT_RECIPE = "default"  # fits any task
MAX_SHOWN = 4  # differences in a message
REMOVED_KEYS = {
    "scheduler": "cutting trials short gained nothing that 16 simulated searches of 20 minutes could tell from chance "
    "(1.005 times the hypervolume without it, p 0.45); delete the line",
    "drop_slower": "leaving out slow networks gained nothing (1.000 times the hypervolume without it in 16 simulated "
    "searches, p 1.00); delete the line",
    "patience": "`stop_below: 0.01` takes its place; delete the line",
}
"""Keys that search files once had, each with the reason why it was removed, and what to do."""
REMOVED_SAMPLERS = {
    "gp": "it reached 0.92 times the hypervolume of `auto` in 16 simulated searches of 8 minutes (p 0.004), and takes "
    "seconds for a suggestion after 500 trials; write auto",
    "nsga2": "it reached 0.79 times the hypervolume of `auto` in 16 simulated searches of 8 minutes (p 0.000); write "
    "auto",
}
"""Samplers that search files could once name, told like removed keys."""


class SearchFile(Settings):
    """A file in search_spaces/.

    `data`, one file or several, is used without `--data`; `recipe` names the file in factory/ that turns this search
    into a ladder; `trials` counts all that end, rejected ones too; `workers` is how many train at once (default: one
    for each core).

    `sampler` draws the configurations. No trial begins after `minutes` of searching, or once
    the next ten are expected to add less than the share `stop_below` to the hypervolume.

    `storage` is where workers on other machines leave their trials (`s3://bucket/folder`, or a folder that all mount);
    without it they write into the study's folder.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=40)
    data: FileNames = []
    recipe: str = DEFAULT_RECIPE
    trials: int = Field(20, ge=1, le=1_000_000)
    workers: int | None = Field(None, ge=1, le=10_000)
    runtime: Annotated[Choice, RUNTIME_CHOICE] = RUNTIME_CHOICE.default("onnxruntime_cpu")
    limits: Limits = Limits()
    sampler: SamplerName = "auto"
    minutes: float | None = Field(None, gt=0)
    stop_below: float | None = Field(None, gt=0, lt=1)
    seed: int = Field(0, ge=0, lt=2**31)
    storage: str | None = None
    space: dict[str, Any]

    @field_validator("runtime")
    @classmethod
    def _runs_trials(cls, runtime: Choice) -> Choice:
        if reads(runtime.name) != ".onnx":
            raise ValueError(f"must run the .onnx files of trials, got {runtime.name}; choose onnxruntime_cpu")
        return runtime


def read(path: Path) -> tuple[SearchFile, space.Section]:
    """Read and check a search file, with what it includes.

    Raises:
        UsageError: every error in the file, one a line.
    """
    whole = include.load(path, SearchFile)
    raw = whole.content.get("space")
    problems = [f"{path}: {key}: removed: {why}" for key, why in REMOVED_KEYS.items() if key in whole.content]
    content = {key: value for key, value in whole.content.items() if key not in REMOVED_KEYS}
    if content.get("sampler") in list(REMOVED_SAMPLERS):
        name = content.pop("sampler")
        problems.append(f"{path}: sampler: {name} was removed: {REMOVED_SAMPLERS[name]}")
    try:
        settings = validate(SearchFile, content, str(path))
    except UsageError as error:
        problems.append(str(error))
    try:
        tree = space.compile_space(raw if isinstance(raw, dict) else {}, str(path))
    except UsageError as error:
        problems.append(str(error))
    if problems:
        raise UsageError(whole.placed("\n".join(problems)))
    shipped("factory", settings.recipe)  # a misspelt recipe is an error now, not after the search
    return settings, tree


def new_name(runs: Path, space_name: str) -> str:
    """The first free name `<space>-<number>`."""
    number = 1
    while (runs / f"{space_name}-{number}" / "study.yaml").exists():
        number += 1
    return f"{space_name}-{number}"


def begin(settings: SearchFile, name: str, data: Sequence[str], facts: Mapping[str, Any]) -> StudyRecord:
    """The record of a new study; `facts` are what was found at its start (host, fingerprint, reference_ms ...)."""
    return StudyRecord(
        study=name,
        space_name=settings.name,
        space=settings.space,
        data=list(data),
        recipe=settings.recipe,
        trials=settings.trials,
        workers=settings.workers or os.cpu_count() or 1,
        runtime=settings.runtime.dump(),
        limits=settings.limits.model_dump(exclude_none=True),
        seed=settings.seed,
        sampler=settings.sampler,
        minutes=settings.minutes,
        stop_below=settings.stop_below,
        storage=settings.storage,
        code_version=records.code_version(),
        **facts,
    )


def check_same(study: StudyRecord, settings: SearchFile | None, fingerprint: str) -> None:
    """Refuse to go on with a study whose space, limits or data have changed.

    Raises:
        StudyError: naming what differs, key by key.
    """
    if settings is not None:
        now = {"space": settings.space, "limits": settings.limits.model_dump(exclude_none=True)}
        changed = list(_differences({"space": study.space, "limits": study.limits}, now))
        if changed:
            shown = ", ".join(changed[:MAX_SHOWN]) + (
                f" and {len(changed) - MAX_SHOWN} more" * (len(changed) > MAX_SHOWN)
            )
            rule = "space and limits must be those it began with"
            raise StudyError(f"{study.study}: {rule}; changed: {shown}; leave --space out, or start a new study")
    if fingerprint != study.data_fingerprint:
        rule = f"the data must be the one it began with ({study.data_fingerprint})"
        raise StudyError(problem(study.study, rule, fingerprint, "give that data set, or start a new study"))


def _differences(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """What differs between two nested mappings: `key (before, now value)`, by dotted key."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}".lstrip("."))
    elif before != now:
        was, now_is = ("nothing" if value is None else shorten(str(value), 60) for value in (before, now))
        yield f"{key} (was {was}, now {now_is})"
