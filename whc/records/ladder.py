"""The ladder of a study: `table.json`."""

from __future__ import annotations

import math
from typing import Any

from pydantic import ConfigDict, Field

from whc.records.files import Record

TABLE_SCHEMA = 2  # 2: scores on test may be null; test_split and constant_val_f1 are new
NO_TEST_SPLIT = "no test split"
UNTESTED = f"{NO_TEST_SPLIT}: nothing was scored on test; validation chose, so expect a lower F1 on new data"


def shown_test_score(score: float | None) -> str:
    """A score on the test split as people read it: in words where there is no test split (None)."""
    return NO_TEST_SPLIT if score is None else f"{score:.4f}"


class VariantRow(Record):
    """A row of `table.json`: a named variant with its evidence. `onnx` is relative to the study's folder.

    `f1` is of the test split, `f1_low`..`f1_high` its 95 % interval from a bootstrap by group, `f1_rotated` the same
    score with the pictures turned by so many degrees; all None without a test split. `val_f1` chose the variant;
    `seeds` holds that of every training of it, by seed. `latency_ratio` is to the reference network: what compares
    with other sessions and studies (None in tables of old).
    """

    name: str
    f1: float | None
    f1_low: float | None
    f1_high: float | None
    f1_rotated: dict[str, float | None]
    val_f1: float
    seeds: dict[str, float]
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    latency_ratio: float | None = None
    size_bytes: int
    params: int
    runtime: str
    onnx: str = Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")
    config: dict[str, Any]
    trial_id: str
    notes: list[str] = []

    @property
    def ratio_shown(self) -> str:
        """Latency over the reference network's, as people read it."""
        return "unknown" if self.latency_ratio is None else f"{self.latency_ratio:.3f}"


class LeftOut(Record):
    """A candidate that did not become a variant, and why."""

    trial_id: str
    val_f1: float
    latency_ms: float
    reason: str


class LadderTable(Record):
    """`table.json`: the ladder of one study, fastest variant first.

    `host` is where latency was measured; `aa_ratio` is that of the reference network against itself, 1 but for noise;
    `noisy`: the machine was too busy to believe the latencies. `test_split`: whether there is one to score on.
    `constant_f1` is what the constant predictor scores on it (None without), `constant_val_f1` on validation (None in
    tables of old). Neighbours are told apart with the recipe's `confidence`; `variants_at_95` counts those that would
    be left at 95 %.
    """

    schema_version: int = Field(TABLE_SCHEMA, alias="schema", le=TABLE_SCHEMA)
    study: str
    prefix: str
    task: str
    labels: list[str]
    data_fingerprint: str
    code_version: str
    host: str
    noisy: bool
    aa_ratio: float
    test_split: bool = True
    constant_f1: float | None
    constant_val_f1: float | None = None
    confidence: float
    variants_at_95: int
    variants: list[VariantRow]
    left_out: list[LeftOut] = []

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @property
    def constant_shown(self) -> tuple[float, str]:
        """What the constant predictor scores, and on which split: validation where there is no test split."""
        score, split = (self.constant_f1, "test") if self.test_split else (self.constant_val_f1, "validation")
        return math.nan if score is None else score, split
