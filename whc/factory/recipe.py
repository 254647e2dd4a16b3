"""Recipes: how a ladder is built, one YAML file each in factory/."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from whc.config import Settings, load_yaml, validate
from whc.export.parity import ParityLimits
from whc.latency.timing import Protocol


class Recipe(Settings):
    """How a study becomes a ladder.

    `prefix` begins every registered name; at most `max_variants` are named; a slower variant must beat the next faster
    one by `min_gain` validation F1, and every variant the constant predictor by `min_over_constant`. `parity` and
    `timing` are the gate's limits and the final timing's length.
    """

    prefix: str = Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$", max_length=40)
    max_variants: int = Field(7, ge=1, le=7)
    min_gain: float = Field(0.005, ge=0, lt=1)
    min_over_constant: float = Field(0.05, ge=0, lt=1)
    parity: ParityLimits = ParityLimits()
    timing: Protocol = Protocol(min_rounds=100, max_rounds=600)


def read(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        UsageError: every error in the file, one a line.
    """
    return validate(Recipe, load_yaml(path), str(path))
