"""Recipes: how a ladder is built, one YAML file each in factory/."""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator

from whc import plugins
from whc.config import Settings, load_yaml, validate
from whc.errors import problem
from whc.export.parity import ParityLimits
from whc.latency import reference
from whc.latency.timing import Protocol
from whc.plugins import Choice, ChoiceOf
from whc.runtimes import DEFAULT_RUNTIMES, reads
from whc.tasks.smoothing import Smoothing

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


class LadderKind(Settings):
    """A ladder of its own: of one kind of file, `artifact`, on one `runtime`, with `prefix` before its names."""

    artifact: Annotated[Choice, ChoiceOf("export")]
    runtime: Annotated[Choice, ChoiceOf("runtimes")]
    prefix: Prefix | None = None

    @model_validator(mode="after")
    def _can_be_read(self) -> LadderKind:
        suffix = plugins.load("export", self.artifact.name).SUFFIX
        if reads(self.runtime.name) != suffix:
            rule = f"must read the {suffix} files of {self.artifact.name}"
            raise ValueError(problem("runtime", rule, self.runtime.name, f"choose {DEFAULT_RUNTIMES[suffix]}"))
        return self

    def __str__(self) -> str:
        return f"{self.artifact.name} on {self.runtime.name}"


class SmoothingValues(Settings):
    """Values of each parameter of `whc.tasks.smoothing` to try; seconds, seconds, probability."""

    short_s: list[float] = Field([0.1, 0.2, 0.4], min_length=1, max_length=10)
    long_s: list[float] = Field([0.2, 0.4, 0.8, 1.6], min_length=1, max_length=10)
    hysteresis: list[float] = Field([0.0, 0.1, 0.2], min_length=1, max_length=10)

    @property
    def combined(self) -> list[Smoothing]:
        """All combinations that the law allows: `long_s` is at least twice `short_s`."""
        pairs = [(short, long) for long, short in product(self.long_s, self.short_s) if 2 * short <= long]
        return [Smoothing(*pair, hysteresis) for pair, hysteresis in product(pairs, self.hysteresis)]

    @model_validator(mode="after")
    def _are_allowed(self) -> SmoothingValues:
        if not self.combined:
            rule = "must hold a value of at least twice the least short_s"
            raise ValueError(problem("long_s", rule, self.long_s, "give a longer time"))
        return self


class Recipe(Settings):
    """How a study becomes a ladder.

    `prefix` begins every registered name (None: the name of the search file); at most `max_variants` are named. A
    slower variant must beat the next faster one by `min_gain` of the validation score, in a share `confidence` of the
    paired resamples of the validation groups. Every variant must beat the best constant answer by `min_over_floor`.
    `refit` says how candidates are trained again, `distil` how the fastest learn from the best (None: they do not),
    `parity` holds the limits of that gate, `timing` the length of the final timing.
    `ladders` are all ladders to build, each of its own kind of file on its own runtime, chosen and named by itself; the
    first takes the `prefix` above if it has none. By default there is one, of ONNX files on the study's runtime.
    `artifacts` are other kinds of file to make of each variant of the first ladder of ONNX files. One is kept if its
    validation score, on its runtime, is at most `max_loss` lower in a share `confidence` of the paired resamples, and
    it is faster than the ONNX file, with intervals that are apart, or at least 40 % smaller.
    `smoothing` holds the values among which the validation clips choose how a variant's decisions are smoothed over
    time; without clips of a known frame rate the file carries the default parameters.
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
    ladders: list[LadderKind] = []
    artifacts: list[Annotated[Choice, ChoiceOf("export")]] = []
    max_loss: float = Field(0.01, ge=0, lt=1)
    thumbnails: int = Field(12, ge=0, le=12)
    refit: Refit = Refit()
    distil: Distil | None = None
    smoothing: SmoothingValues = SmoothingValues()
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

    @field_validator("ladders")
    @classmethod
    def _are_different(cls, ladders: list[LadderKind]) -> list[LadderKind]:
        for number, ladder in enumerate(ladders[1:], 1):
            if ladder.prefix is None:
                next_step = f"such as {ladder.artifact.name}"
                raise ValueError(
                    problem(f"{number}.prefix", "must be given for each ladder but the first", None, next_step)
                )
        kinds, prefixes = [str(ladder) for ladder in ladders], [ladder.prefix for ladder in ladders]
        for values in (kinds, prefixes):
            if len(set(values)) < len(values):
                raise ValueError(
                    f"must differ in kind of file or runtime, and in prefix, got {values}; change one of them"
                )
        return ladders

    @model_validator(mode="after")
    def _artifacts_have_a_ladder(self) -> Recipe:
        if self.artifacts and self.ladders and all(ladder.artifact.name != "onnx" for ladder in self.ladders):
            rule, next_step = (
                "must have a ladder of onnx, whose variants they are made of",
                "add one, or leave them out",
            )
            raise ValueError(problem("artifacts", rule, ", ".join(map(str, self.ladders)), next_step))
        return self

    def check_installed(self) -> None:
        """Raise UsageError or RuntimeUnavailable, with the command that helps, unless all can be made and run here."""
        for artifact in [*self.artifacts, *(ladder.artifact for ladder in self.ladders)]:
            plugins.load("export", artifact.name).check_installed()
        with tempfile.TemporaryDirectory(prefix="whc-reference-") as scratch:
            network = reference.write(Path(scratch) / reference.FILE_NAME)
            for runtime in (ladder.runtime for ladder in self.ladders):
                if reads(runtime.name) == network.suffix:  # the exporter of other files looks for their runtime
                    plugins.load("runtimes", runtime.name).load(network, runtime.config)


def read(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        UsageError: all errors in the file, each on its own line.
    """
    return validate(Recipe, load_yaml(path), str(path))
