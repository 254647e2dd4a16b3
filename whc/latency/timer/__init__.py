"""Timing on a device: `server` runs there, `client` asks it; `messages` are what they exchange."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from whc.config import Settings
from whc.latency import timing
from whc.latency.host import host
from whc.plugins import Choice
from whc.words import quantity


class TimingPlace(Settings):
    """Where files are timed: the machine, and the runtime there with its threads; `settings` are all its parameters."""

    host: str
    runtime: str
    threads: int
    settings: str | dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """What a latency depends on beside the file and the protocol."""
        return {"host": self.host, "runtime": self.settings}

    def __str__(self) -> str:
        return f"{self.runtime} with {quantity(self.threads, 'thread')} on {self.host}"


class Timer(Protocol):
    """A device that times files in the place of this machine; it can be sent to another process."""

    @property
    def place(self) -> TimingPlace:
        """The device and its runtime."""

    def collect(
        self, files: Mapping[str, Path], protocol: timing.Protocol, ram_of: Collection[str] = ()
    ) -> tuple[timing.Series, dict[str, str]]:
        """As `whc.latency.watch.collect`, on the device; while the device does not answer, the call waits."""

    def telling(self, on_wait: Callable[[str], None]) -> Self:
        """The same timer; it calls `on_wait` with the reason when it begins to wait, and with "" when that is over."""


def place_of(runtime: Choice, timer: Timer | None) -> TimingPlace:
    """Where files are timed: on a timer, or without one on this machine, with `runtime`."""
    if timer:
        return timer.place
    threads = getattr(runtime.config, "threads", 1)
    return TimingPlace(host=host(), runtime=runtime.name, threads=threads, settings=runtime.dump())
