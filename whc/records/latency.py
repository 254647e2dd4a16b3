"""Latencies: of one file, of one architecture, of files timed together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Self

from pydantic import ConfigDict, Field

from whc.records.files import Count, Positive, Record

LATENCY_SCHEMA = 3  # 2: when a session was; 3: memory, and an empty network's call


def now() -> datetime:
    """The time to the second, as records keep it."""
    return datetime.now(UTC).replace(microsecond=0)


def _share(part: float, total: float) -> float:
    return part / total if total else 1.0


class Latency(Record):
    """Time of one forward pass at batch 1.

    `ms` is normalised: the median ratio to the reference network, `ratio`, times the reference's idle milliseconds on
    the host; it is comparable between sessions. `p50_ms`, `p90_ms` and `p99_ms` are plain times of that session. Each
    `_low`..`_high` is the 95 % interval of its median. `noisy`: the machine was too busy for reliable numbers.
    """

    ms: Positive
    low_ms: Positive
    high_ms: Positive
    p90_ms: Positive
    p99_ms: Positive
    ratio: Positive
    runtime: str
    threads: int
    host: str
    # Old records lack these fields.
    ratio_low: Positive = Field(default_factory=lambda data: data["ratio"] * _share(data["low_ms"], data["ms"]))
    ratio_high: Positive = Field(default_factory=lambda data: data["ratio"] * _share(data["high_ms"], data["ms"]))
    p50_ms: Positive = Field(default_factory=lambda data: data["ms"])
    p50_low_ms: Positive = Field(default_factory=lambda data: data["low_ms"])
    p50_high_ms: Positive = Field(default_factory=lambda data: data["high_ms"])
    noisy: bool = False

    def scaled(self, reference_ms: float) -> Self:
        """The same latency in milliseconds of a host on which the idle reference network takes `reference_ms`."""
        ratios = {"ms": self.ratio, "low_ms": self.ratio_low, "high_ms": self.ratio_high}
        return self.model_copy(update={name: ratio * reference_ms for name, ratio in ratios.items()})


class IdleReference(Record):
    """Milliseconds of the reference network on an idle host: the minimum of all sessions on it."""

    host: str
    runtime: str
    ms: Positive


class Footprint(Record):
    """Size and latency of an architecture's exported file, which do not depend on the weights."""

    size_bytes: Count
    latency: Latency


class TimedFile(Record):
    """A file and its latency. `ratio_to_first` compares it with the first file of its session, round by round.

    `call_ms` is the part of the latency that a call of an empty network takes too. `ram_bytes` is the peak memory of a
    process that runs the file, beyond that of one which runs an empty network. Both are None where they were not
    measured.
    """

    path: str
    sha256: str
    latency: Latency
    ratio_to_first: Positive
    ratio_to_first_low: Positive
    ratio_to_first_high: Positive
    call_ms: Positive | None = None
    ram_bytes: Count | None = None

    @property
    def own_ms(self) -> float | None:
        """Milliseconds that the network itself takes; at least 0, as both parts are measured with some error."""
        return None if self.call_ms is None else max(0.0, self.latency.ms - self.call_ms)

    @property
    def is_mostly_call(self) -> bool:
        """Whether the network itself takes less than the call."""
        return self.call_ms is not None and self.latency.ms < 2 * self.call_ms


class FailedFile(Record):
    """A file that could not be timed, and why; `sha256` is empty if it could not be read."""

    path: str
    sha256: str
    reason: str


class LatencySession(Record):
    """Files timed together, as `whc bench` prints and writes them.

    `aa_ratio` is the reference network against itself: 1 without noise. `timed_at` is when it began (None in old ones).
    """

    schema_version: int = Field(LATENCY_SCHEMA, alias="schema", le=LATENCY_SCHEMA)
    host: str
    runtime: str
    threads: int
    reference_ms: Positive
    noisy: bool
    aa_ratio: Positive
    aa_low: Positive
    aa_high: Positive
    files: list[TimedFile]
    failed: list[FailedFile]
    timed_at: datetime | None = None

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
