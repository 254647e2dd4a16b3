"""What the page of a ladder shows of each variant beyond its row: `ladder/details.json`."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from whc.records.files import Record
from whc.records.trials import CurvePoint

DETAILS_SCHEMA = 1


class ShownMistake(Record):
    """A bad answer on validation: its words, and a small picture as a data URI (empty if it cannot be shown)."""

    words: str
    picture: str


class VariantDetails(Record):
    """Evidence of one variant on the validation split.

    `val_low`..`val_high` is the 95 % interval of its score (0..1), from a bootstrap by group. `curves` are those of all
    its trainings, by seed; `seed` is that of the training that became the variant. `diagnostics` is the name of a
    picture beside details.json. `mistakes` are the worst, worst first.
    """

    val_low: float
    val_high: float
    seed: int
    curves: dict[str, list[CurvePoint]]
    diagnostics: str = Field(pattern=r"^\w[\w.-]*$")
    mistakes: list[ShownMistake] = []


class LadderDetails(Record):
    """`ladder/details.json`: evidence of the variants by name. `holds_pictures`: pictures of the data are in it."""

    schema_version: int = Field(DETAILS_SCHEMA, alias="schema", le=DETAILS_SCHEMA)
    holds_pictures: bool
    variants: dict[str, VariantDetails]

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
