"""Timing on the nodes of a Ray cluster that have the custom resource `whc_timer`, and do nothing else with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from whc.errors import ClusterError, WhcError
from whc.latency.timer import TimingPlace, place_of
from whc.latency.timing import Protocol, Series
from whc.latency.watch import collect
from whc.plugins import Choice
from whc.runtimes import suffix_of

RESOURCE = "whc_timer"
POLL_S = 5.0


def _say_nothing(reason: str) -> None:
    del reason


@dataclass(frozen=True)
class ClusterTimer:
    """A `whc.latency.timer.Timer`: sessions run as tasks of the cluster, one at a time on each node that times."""

    runtime: Choice
    place: TimingPlace
    on_wait: Callable[[str], None] = field(default=_say_nothing, repr=False, compare=False)

    def telling(self, on_wait: Callable[[str], None]) -> Self:
        """The same timer; it calls `on_wait` with the reason when it begins to wait, and with "" when that is over."""
        return replace(self, on_wait=on_wait)

    def collect(
        self, files: Mapping[str, Path], protocol: Protocol, ram_of: Collection[str] = ()
    ) -> tuple[Series, dict[str, str]]:
        """As `whc.latency.watch.collect`, on a node that times; while there is none, the call waits.

        Raises:
            ClusterError: the node is another machine than the first, so that latencies cannot be compared.
        """
        import ray

        contents = {name: (suffix_of(path), path.read_bytes()) for name, path in files.items()}
        call = _there(_timed).remote(contents, self.runtime, protocol, list(ram_of))
        is_waiting = False
        while not ray.wait([call], timeout=POLL_S)[0]:
            is_lost = not _nodes()
            if is_lost != is_waiting:
                self.on_wait(f"no node of the cluster has the resource {RESOURCE}" if is_lost else "")
            is_waiting = is_lost
        if is_waiting:
            self.on_wait("")
        place, series, failed = _result(call)
        if place != self.place:
            raise ClusterError(f"{RESOURCE}: must be nodes of one kind ({self.place}), got {place}; leave one of them")
        return series, failed


def find(runtime: Choice) -> ClusterTimer | None:
    """The timer of the cluster that this process has joined; None where no node has the resource."""
    return ClusterTimer(runtime, _result(_there(place_of).remote(runtime, None))) if _nodes() else None


def _nodes() -> int:
    import ray

    return sum(bool(node["Resources"].get(RESOURCE)) for node in ray.nodes() if node["Alive"])


def _there(work: Callable[..., Any]) -> Any:
    """Work as a task for a node that times; begun again elsewhere when its node is lost."""
    import ray

    # By itself a task would run in the placement group of the trial that starts it, which has cores alone.
    remote = ray.remote(num_cpus=0, resources={RESOURCE: 1}, max_retries=-1, scheduling_strategy="DEFAULT")
    return remote(work)


def _result(call: Any) -> Any:
    import ray

    try:
        return ray.get(call)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, WhcError) else error from error


def _timed(
    contents: Mapping[str, tuple[str, bytes]], runtime: Choice, protocol: Protocol, ram_of: Collection[str]
) -> tuple[TimingPlace, Series, dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="whc-timer-") as folder:
        paths = {}
        for place, (name, (suffix, content)) in enumerate(contents.items()):
            paths[name] = Path(folder) / f"{place}{suffix}"
            paths[name].write_bytes(content)
        return place_of(runtime, None), *collect(paths, runtime, protocol, ram_of)
