"""The ladder of a study: `table.json`."""

from __future__ import annotations

import math
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from whc.records import first_schema
from whc.records.files import Record
from whc.records.metric import Metric

TABLE_SCHEMA = 3  # 2: scores on test may be null; 3: scores of any metric


class Part(Record):
    """A part of a score (0..1), such as one angle's, with its 95 % interval, and as people read it."""

    score: float
    low: float
    high: float
    shown: str


class VariantRow(Record):
    """A row of `table.json`: a named variant with its evidence. `onnx` is relative to the study's folder.

    `score` (0..1) is of the test split, `score_low`..`score_high` its 95 % interval from a bootstrap by group, `shown`
    the three as people read them; `score_changed` is the same score with the pictures changed in ways of the task's
    (turned, say), `parts` are what it is made of. All are None or empty without a test split. `val_score` chose the
    variant; `seeds` holds that of every training of it, by seed. `latency_ratio` is to the reference network: what
    compares with other sessions and studies (None in tables of old).
    """

    name: str
    score: float | None
    score_low: float | None
    score_high: float | None
    shown: str = ""
    score_changed: dict[str, float | None]
    parts: dict[str, Part] = {}
    val_score: float
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
    val_score: float
    latency_ms: float
    reason: str


class LadderTable(Record):
    """`table.json`: the ladder of one study, fastest variant first.

    `metric` is that of its scores. `host` is where latency was measured; `aa_ratio` is that of the reference network
    against itself, 1 but for noise; `noisy`: the machine was too busy to believe the latencies. `test_split`: whether
    there is one to score on. `floor` is what the best constant answer scores on it (None without), `val_floor` on
    validation (None in tables of old). Neighbours are told apart with the recipe's `confidence`; `variants_at_95`
    counts those that would be left at 95 %.
    """

    schema_version: int = Field(TABLE_SCHEMA, alias="schema", le=TABLE_SCHEMA)
    study: str
    prefix: str
    task: str
    labels: list[str]
    metric: Metric
    data_fingerprint: str
    code_version: str
    host: str
    noisy: bool
    aa_ratio: float
    test_split: bool = True
    floor: float | None
    val_floor: float | None = None
    confidence: float
    variants_at_95: int
    variants: list[VariantRow]
    left_out: list[LeftOut] = []

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _read_earlier(cls, content: Any) -> Any:
        return first_schema.table(content)

    @property
    def floor_shown(self) -> tuple[float, str]:
        """What the best constant answer scores, and on which split: validation where there is no test split."""
        score, split = (self.floor, "test") if self.test_split else (self.val_floor, "validation")
        return math.nan if score is None else score, split
