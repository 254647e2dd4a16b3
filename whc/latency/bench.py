"""Files timed against each other and the reference network, on one runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whc.errors import ArtifactError
from whc.latency import first_pass
from whc.latency.host import host
from whc.latency.statistics import Estimate, Timing, disagrees, disturbed
from whc.latency.timing import REFERENCE, Protocol, Series
from whc.latency.watch import TWIN, collect
from whc.plugins import Choice
from whc.records import FailedFile, Latency, LatencySession, TimedFile, sha256

QUIET_PERCENTILE = 10  # of the reference network's blocks: other work slows most of them, and seldom all


@dataclass(frozen=True)
class Bench:
    """What a session gave: a latency for each file and for `REFERENCE`, and the reason for each file without one.

    `twin` is the reference network timed against itself, which shows how far to believe the session.
    """

    latencies: dict[str, Latency]
    failed: dict[str, str]
    twin: Estimate
    series: Series

    @property
    def quiet_ms(self) -> float:
        """The reference network's milliseconds in the quiet moments of the session."""
        return _quiet_ms(self.series)

    def __getitem__(self, name: str) -> Latency:
        """A file's latency; raises ArtifactError, with the reason, when it could not be timed."""
        if name in self.failed:
            raise ArtifactError(self.failed[name])
        return self.latencies[name]


def bench(files: Mapping[str, Path], runtime: Choice, protocol: Protocol, reference_ms: float | None = None) -> Bench:
    """Time files, all interleaved, in a process of their own; a file that cannot be timed leaves the others alone.

    Args:
        files: name -> artifact.
        runtime: runtime plug-in with its parameters.
        protocol: how long to measure.
        reference_ms: the reference network's milliseconds on this host when idle; by default those of this
            session's quiet moments.

    Raises:
        ArtifactError: the runtime cannot even run the reference network.
    """
    series, failed = collect(files, runtime, protocol)
    timings = series.timings(protocol.half_width)
    twin = timings.pop(TWIN)
    idle_ms = reference_ms or _quiet_ms(series)
    noisy = disagrees(twin)
    latencies = {name: _latency(timing, idle_ms, runtime, noisy) for name, timing in timings.items()}
    return Bench(latencies, failed, twin.ratio, series)


def session(
    paths: Sequence[Path],
    runtime: Choice,
    protocol: Protocol,
    reference_ms: float | None = None,
    wait_s: float | None = None,
) -> LatencySession:
    """Time files and give all there is to tell of it, each file compared with the first that could be timed.

    With `wait_s`, files that anybody may have made are tried one by one before, and those whose first pass fails or
    gives no answer in that time are not timed. The other arguments, and errors, are those of `bench`.

    Raises:
        ArtifactError: also when no file is left.
    """
    files = {str(place): path for place, path in enumerate(paths)}
    refused = {} if wait_s is None else _refused(files, runtime, wait_s)
    if refused and len(refused) == len(files):
        raise ArtifactError("\n".join(refused.values()))
    found = bench({name: path for name, path in files.items() if name not in refused}, runtime, protocol, reference_ms)
    found.failed.update(refused)
    timed, failed = [], []
    first = next((name for name in files if name in found.latencies), "")
    for name, path in files.items():
        if name in found.failed:
            failed.append(FailedFile(path=str(path), sha256=_hash(path), reason=found.failed[name]))
            continue
        ratio = found.series.ratio(name, first)
        timed.append(
            TimedFile(
                path=str(path),
                sha256=_hash(path),
                latency=found[name],
                ratio_to_first=ratio.value,
                ratio_to_first_low=ratio.low,
                ratio_to_first_high=ratio.high,
            )
        )
    yardstick = found[REFERENCE]
    return LatencySession(
        host=yardstick.host,
        runtime=yardstick.runtime,
        threads=yardstick.threads,
        reference_ms=yardstick.ms,
        noisy=any(latency.noisy for latency in found.latencies.values()),
        aa_ratio=found.twin.value,
        aa_low=found.twin.low,
        aa_high=found.twin.high,
        files=timed,
        failed=failed,
    )


def _quiet_ms(series: Series) -> float:
    return float(np.percentile(series.times_ms[REFERENCE], QUIET_PERCENTILE))


def _refused(files: Mapping[str, Path], runtime: Choice, wait_s: float) -> dict[str, str]:
    """Files whose first pass did not come to its end, each with the reason."""
    refused = {}
    for name, path in files.items():
        try:
            first_pass.check(path, runtime, wait_s)
        except ArtifactError as error:
            refused[name] = str(error)
    return refused


def _hash(path: Path) -> str:
    """Hash of a file's content; empty when it cannot be read."""
    try:
        return sha256(path)
    except OSError:
        return ""


def _latency(timing: Timing, idle_ms: float, runtime: Choice, noisy: bool) -> Latency:
    return Latency(
        ms=timing.ratio.value * idle_ms,
        low_ms=timing.ratio.low * idle_ms,
        high_ms=timing.ratio.high * idle_ms,
        p50_ms=timing.p50_ms.value,
        p50_low_ms=timing.p50_ms.low,
        p50_high_ms=timing.p50_ms.high,
        p90_ms=timing.p90_ms,
        p99_ms=timing.p99_ms,
        ratio=timing.ratio.value,
        ratio_low=timing.ratio.low,
        ratio_high=timing.ratio.high,
        noisy=noisy or disturbed(timing),
        runtime=runtime.name,
        threads=getattr(runtime.config, "threads", 1),
        host=host(),
    )
