"""The ladder of a study: `table.json`."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from whc.records import first_schema
from whc.records.files import Record
from whc.records.metric import Metric

# 2: test scores may be null; 3: any metric; 4: hashes, frames of validation rows; 5: memory, calls, artifacts;
# 6: several ladders, so that a variant's file may be of any kind
TABLE_SCHEMA = 6


class Part(Record):
    """A part of a score (0..1), such as that of one angle, with its 95 % interval; `shown` is its text for people."""

    score: float
    low: float
    high: float
    shown: str


def ram_shown(ram_bytes: int | None) -> str:
    """Text for people: megabytes of memory beyond those of an empty network."""
    return "unknown" if ram_bytes is None else f"{ram_bytes / 1e6:.1f}"


class TriedArtifact(Record):
    """Another file of a variant: kept if `file`, relative to the study's folder, is not empty.

    `kind` names its exporter. `verdict` says in words why it was kept or dropped. What was not measured before it was
    dropped is None. `ram_bytes` is as that of a variant. `val_score` is that of the file on its runtime,
    `latency_ratio` relative to the reference network, `ratio_to_onnx` to the variant's ONNX file in the same session,
    with its 95 % interval.
    """

    kind: str
    file: str = Field("", pattern=r"^(\w[\w.-]*(/\w[\w.-]*)*)?$")
    sha256: str = ""
    verdict: str
    runtime: str = ""
    size_bytes: int | None = None
    ram_bytes: int | None = None
    val_score: float | None = None
    latency_ms: float | None = None
    latency_ratio: float | None = None
    ratio_to_onnx: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None

    @property
    def file_name(self) -> str:
        """Name of the file without its folder."""
        return self.file.rpartition("/")[2]

    @property
    def ram_shown(self) -> str:
        """Text for people: megabytes of memory beyond those of an empty network; empty where it was not timed."""
        return ram_shown(self.ram_bytes) if self.ratio_to_onnx else ""

    @property
    def ratio_shown(self) -> str:
        """Text for people: latency relative to the ONNX file; empty where it was not timed."""
        if self.ratio_to_onnx is None:
            return ""
        return f"{self.ratio_to_onnx:.2f} ({self.ratio_low:.2f} to {self.ratio_high:.2f})"


class VariantRow(Record):
    """A row of `table.json`: a named variant with its evidence. `file` is relative to the study's folder.

    `score` (0..1) is that of the test split, `score_low`..`score_high` its 95 % interval from a bootstrap by group,
    `shown` the text of all three for people. `score_changed` holds the score under each condition of the task (such as
    turned pictures), `parts` the parts of the score. All are None or empty without a test split. `val_score` chose the
    variant; `seeds` holds the validation score of each of its trainings, by seed. `latency_ratio` is relative to the
    reference network and comparable between sessions and studies (None in old tables). `call_ms` is what a call of an
    empty network takes of the latency, `ram_bytes` the peak memory of a process that runs the file, beyond that of one
    which runs an empty network (both None in old tables, and where they were not measured). `sha256` is the hash of the
    file (empty in old tables). `artifacts` are the other kinds of file that the recipe asks for.
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
    call_ms: float | None = None
    size_bytes: int
    ram_bytes: int | None = None
    params: int
    runtime: str
    file: str = Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")
    sha256: str = ""
    config: dict[str, Any]
    trial_id: str
    notes: list[str] = []
    artifacts: list[TriedArtifact] = []

    @property
    def ratio_shown(self) -> str:
        """Text for people: latency relative to the reference network."""
        return "unknown" if self.latency_ratio is None else f"{self.latency_ratio:.3f}"

    @property
    def ram_shown(self) -> str:
        """Text for people: megabytes of memory beyond those of an empty network."""
        return ram_shown(self.ram_bytes)


class Champion(Record):
    """A registered version that its name stands for; `path` is its file, None if it cannot be used, as `fault` says."""

    name: str
    version: str
    study: str
    path: Path | None
    fault: str = ""


class LeftOut(Record):
    """A candidate that did not become a variant, with the reason."""

    trial_id: str
    val_score: float
    latency_ms: float
    reason: str


class LadderTable(Record):
    """`table.json`: the first ladder of one study, fastest variant first; `others` are its other ladders.

    `artifact` names the exporter of its files, `runtime` is what runs them, with its parameters (empty in old tables:
    the study's). `metric` is that of its scores. `host` is where latency was measured, `timed_at` when (None in old
    tables). `aa_ratio` is the reference network against itself, 1 without noise. `noisy`: the machine was too busy
    for reliable latencies. `test_split`: whether there is a test split. `floor` is the score of the best constant
    answer on test (None without), `val_floor` on validation (None in old tables). Validation scores are of the rows
    that end a window of `val_frames` frames, those of the longest candidate (None in old tables). Neighbours differ
    with the recipe's `confidence`; `variants_at_95` counts the variants that would remain at 95 %.
    """

    schema_version: int = Field(TABLE_SCHEMA, alias="schema", le=TABLE_SCHEMA)
    study: str
    prefix: str
    artifact: str = "onnx"
    runtime: str | dict[str, Any] = ""
    task: str
    labels: list[str]
    metric: Metric
    data_fingerprint: str
    code_version: str
    host: str
    timed_at: datetime | None = None
    noisy: bool
    aa_ratio: float
    test_split: bool = True
    floor: float | None
    val_floor: float | None = None
    val_frames: int | None = None
    confidence: float
    variants_at_95: int
    variants: list[VariantRow]
    left_out: list[LeftOut] = []
    others: list[LadderTable] = []

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _read_earlier(cls, content: Any) -> Any:
        return _with_files(first_schema.table(content))

    @property
    def ladders(self) -> list[LadderTable]:
        """All ladders of the study, this first one included."""
        return [self, *self.others]

    @property
    def kind_shown(self) -> str:
        """Text for people: the kind of its files and what runs them."""
        return f"{self.artifact} on {self.variants[0].runtime}" if self.variants else self.artifact

    @property
    def floor_shown(self) -> tuple[float, str]:
        """Score of the best constant answer and the name of its split: validation if there is no test split."""
        score, split = (self.floor, "test") if self.test_split else (self.val_floor, "validation")
        return math.nan if score is None else score, split

    @property
    def val_rows_shown(self) -> str:
        """Which rows validation scores are of, where not each row has one; else empty."""
        if (self.val_frames or 1) == 1:
            return ""
        rows = f"the frames that end a window of {self.val_frames} frames, the same for all variants"
        return f"Validation {self.metric.name} is of {rows}; that of a seed is of all windows of its own network."


def _with_files(content: Any) -> Any:
    """A table.json up to schema 5, which called a variant's file `onnx`, with today's key."""
    if not isinstance(content, dict) or not isinstance(content.get("variants"), list):
        return content
    rows = [
        {"file" if key == "onnx" else key: value for key, value in row.items()} if isinstance(row, dict) else row
        for row in content["variants"]
    ]
    return {**content, "variants": rows}
