"""What a timer and its clients send each other over HTTP, as JSON."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

import numpy as np
from pydantic import Field, NonNegativeInt, field_validator, model_validator

from whc.config import Settings
from whc.latency.timer import TimingPlace
from whc.latency.timing import REFERENCE_NAME, Protocol, Series
from whc.latency.watch import TWIN_NAME

TIMER_VERSION: Final = 2
"""Of these messages and of the reference network: a client and its timer must have the same."""
MAX_FILE_BYTES = 64 * 2**20
MAX_FILES = 256  # of one session
MAX_SESSION_S = 3600.0
FILES_PATH, JOBS_PATH = "/files", "/jobs"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # SHA-256 of a file's content
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Greeting(Settings):
    """What a timer says of itself."""

    timer_version: Literal[2]
    place: TimingPlace


class TimingJob(Settings):
    """Uploaded files to time in one session, interleaved; of those in `ram_of` the memory is measured too."""

    timer_version: Literal[2] = TIMER_VERSION
    files: list[Digest] = Field(max_length=MAX_FILES)
    protocol: Protocol
    ram_of: list[Digest] = Field([], max_length=MAX_FILES)

    @field_validator("protocol")
    @classmethod
    def _ends_in_time(cls, protocol: Protocol) -> Protocol:
        longest_s = max(protocol.max_s, protocol.timeout_s, protocol.load_timeout_s, protocol.warmup_ms / 1000)
        if longest_s > MAX_SESSION_S:
            raise ValueError(f"times must be at most {MAX_SESSION_S:.0f} s, got {longest_s:g}; time for less long")
        return protocol


class MissingFiles(Settings):
    """Files of a job that the timer does not have (any more)."""

    missing: list[Digest]


class TimingAnswer(Settings):
    """The blocks and memory of a session as in `Series`, and the reason for each file without; all by digest.

    `times_ms` is empty where no file was timed. `error` says why there was no session at all, `unavailable` that the
    runtime does not work on the device.
    """

    place: TimingPlace
    times_ms: dict[str, list[list[Milliseconds]]] = {}
    interrupted: dict[str, float] = {}
    ram_bytes: dict[str, NonNegativeInt] = {}
    failed: dict[str, str] = {}
    error: str = ""
    unavailable: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        lengths = {tuple(map(len, rows)) for rows in self.times_ms.values()}
        names = self.times_ms.keys()
        if names and (
            len(lengths) != 1
            or len(set(*lengths)) != 1
            or not {REFERENCE_NAME, TWIN_NAME} <= names
            or names != self.interrupted.keys()
        ):
            raise ValueError("must have blocks of equal number for every file and the reference network")
        return self

    @property
    def series(self) -> Series:
        """The blocks as arrays."""
        times = {name: np.array(rows) for name, rows in self.times_ms.items()}
        return Series(times, self.interrupted, self.ram_bytes)
