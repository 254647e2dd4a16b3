"""Recipes: how a ladder is built, one YAML file each in factory/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator

from whc import plugins
from whc.config import Settings, load_yaml, validate
from whc.errors import problem
from whc.export.parity import ParityLimits
from whc.latency.timing import Protocol
from whc.plugins import Choice, ChoiceOf

MAX_PREFIX = 40
Prefix = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$", max_length=MAX_PREFIX)]


class Refit(Settings):
    """Training the best trials again.

    So many `candidates` are trained `seeds` times each for `epochs` (None: as many as in the search): of the search's
    front the best by hypervolume, and if it has fewer, of the front of the other trials, and so on. With 0 seeds the
    weights of the search are used, and all candidates are of the front.
    """

    seeds: int = Field(2, ge=0, le=20)
    epochs: int | None = Field(None, ge=1, le=10_000)
    candidates: int = Field(9, ge=1, le=100)

    @property
    def beyond(self) -> str:
        """The reason why a trial of the front is not a candidate."""
        return f"beyond the {self.candidates} best of the front by hypervolume, which are the recipe's candidates"


class Distil(Settings):
    """Training the fastest candidates also with a teacher, for as many epochs and seeds as without one.

    `teacher`: `best` is the candidate of the best validation score, trained again. `students` is how many of the
    fastest learn from it. `data` is a file of more pictures, whose labels are not used; None: those of the training
    split alone.
    """

    teacher: Literal["best"] = "best"
    students: int = Field(2, ge=1, le=100)
    data: Path | None = None


class Recipe(Settings):
    """How a study becomes a ladder.

    `prefix` begins every registered name (None: the name of the search file); at most `max_variants` are named. A
    slower variant must beat the next faster one by `min_gain` of the validation score, in a share `confidence` of the
    paired resamples of the validation groups. Every variant must beat the best constant answer by `min_over_floor`.
    `refit` says how candidates are trained again, `distil` how the fastest learn from the best (None: they do not),
    `parity` holds the limits of that gate, `timing` the length of the final timing.
    `artifacts` are other kinds of file to make of each variant. One is kept if its validation score, on its runtime, is
    at most `max_loss` lower in a share `confidence` of the paired resamples, and it is faster than the ONNX file, with
    intervals that are apart, or at least 40 % smaller.
    `thumbnails` is how many of its worst mistakes the study's page shows of each variant; with 0 the page holds no
    picture of the data.
    """

    prefix: Prefix | None = None
    max_variants: int = Field(7, ge=1, le=7)
    min_gain: float = Field(0.005, ge=0, lt=1)
    confidence: float = Field(0.8, gt=0, le=1)
    min_over_floor: float = Field(
        0.05, ge=0, lt=1, validation_alias=AliasChoices("min_over_floor", "min_over_constant")
    )
    artifacts: list[Annotated[Choice, ChoiceOf("export")]] = []
    max_loss: float = Field(0.01, ge=0, lt=1)
    thumbnails: int = Field(12, ge=0, le=12)
    refit: Refit = Refit()
    distil: Distil | None = None
    parity: ParityLimits = ParityLimits()
    timing: Protocol = Protocol(min_rounds=100, max_rounds=600)

    @model_validator(mode="after")
    def _teachers_are_trained(self) -> Recipe:
        if self.distil and not self.refit.seeds:
            rule = "must be left out where nothing is trained again"
            raise ValueError(problem("distil", rule, "refit.seeds of 0", "train with one seed or more"))
        return self

    @field_validator("artifacts")
    @classmethod
    def _beside_onnx(cls, artifacts: list[Choice]) -> list[Choice]:
        kinds = [choice.name for choice in artifacts]
        if "onnx" in kinds or len(set(kinds)) < len(kinds):
            raise ValueError(f"must name each kind once, and not onnx, which is always made, got {', '.join(kinds)}")
        return artifacts

    def check_installed(self) -> None:
        """Raise UsageError, with the command that helps, unless all artifacts can be made here."""
        for artifact in self.artifacts:
            plugins.load("export", artifact.name).check_installed()


def read(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        UsageError: all errors in the file, each on its own line.
    """
    return validate(Recipe, load_yaml(path), str(path))
