"""Files timed against each other and the reference network, on one runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whc.errors import ArtifactError
from whc.latency import first_pass, reference
from whc.latency.statistics import Estimate, Timing, is_disturbed, twin_disagrees
from whc.latency.timer import Timer, TimingPlace, place_of
from whc.latency.timing import REFERENCE_NAME, Protocol, Series
from whc.latency.watch import EMPTY_NAME, TWIN_NAME, collect
from whc.plugins import Choice
from whc.records import FailedFile, Latency, LatencySession, TimedFile, now, sha256
from whc.runtimes import name_for, suffix_of

QUIET_PERCENTILE = 10  # of the reference network's blocks: other work slows many of them, but seldom all


@dataclass(frozen=True)
class BenchResult:
    """Result of a session: a latency for each file and for `REFERENCE_NAME`, and the reason for each file without one.

    `twin` is the reference network timed against itself; it shows how far the session can be trusted.
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


def bench(
    files: Mapping[str, Path],
    runtime: Choice,
    protocol: Protocol,
    reference_ms: float | None = None,
    timer: Timer | None = None,
    ram_of: Collection[str] = (),
) -> BenchResult:
    """Time files, all interleaved, in a process of their own; a file that cannot be timed does not affect the others.

    Args:
        files: name -> artifact.
        runtime: runtime plug-in with its parameters; a timer runs the files on its own. A file that it does not read
            runs on the usual one of its kind.
        protocol: how long to measure.
        reference_ms: the reference network's milliseconds on that host when idle; by default those of this
            session's quiet moments.
        timer: the device that times the files; None for this machine.
        ram_of: names of the files whose memory is measured too.

    Raises:
        ArtifactError: the runtime cannot even run the reference network.
    """
    series, failed = timer.collect(files, protocol, ram_of) if timer else collect(files, runtime, protocol, ram_of)
    place = place_of(runtime, timer)
    timings = series.timings(protocol.half_width)
    twin = timings.pop(TWIN_NAME)
    idle_ms = reference_ms or _quiet_ms(series)
    noisy = twin_disagrees(twin)
    latencies = {
        name: _latency(timing, idle_ms, place, _runtime_of(files.get(name), place.runtime), noisy)
        for name, timing in timings.items()
    }
    return BenchResult(latencies, failed, twin.ratio, series)


def session(
    paths: Sequence[Path],
    runtime: Choice,
    protocol: Protocol,
    reference_ms: float | None = None,
    timer: Timer | None = None,
    wait_s: float | None = None,
) -> LatencySession:
    """Time files and compare each with the first that could be timed; empty networks are timed beside them.

    With `wait_s`, each file is first run once by itself, as it may come from anybody. A file whose first pass fails or
    does not end within `wait_s` is not timed. The other arguments and the errors are those of `bench`.

    Raises:
        ArtifactError: also when no file is left.
    """
    timed_at = now()
    files = {str(place): path for place, path in enumerate(paths)}
    unfit = {} if wait_s is None else refused(files, runtime, wait_s)
    if unfit and len(unfit) == len(files):
        raise ArtifactError("\n".join(unfit.values()))
    fit = {name: path for name, path in files.items() if name not in unfit}
    with tempfile.TemporaryDirectory(prefix="whc-empty-") as scratch:
        names = {suffix: f"{EMPTY_NAME}{suffix}" for suffix in sorted({suffix_of(path) for path in fit.values()})}
        empty = {name: reference.write_empty(Path(scratch) / name) for name in names.values()}
        measured = bench({**fit, **empty}, runtime, protocol, reference_ms, timer, fit)
    measured.failed.update(unfit)
    calls = {suffix: measured.latencies.pop(name, None) for suffix, name in names.items()}
    timed, failed = [], []
    first_timed = next((name for name in files if name in measured.latencies), "")
    for name, path in files.items():
        if name in measured.failed:
            failed.append(FailedFile(path=str(path), sha256=_hash(path), reason=measured.failed[name]))
            continue
        ratio, call = measured.series.ratio(name, first_timed), calls[suffix_of(path)]
        timed.append(
            TimedFile(
                path=str(path),
                sha256=_hash(path),
                latency=measured[name],
                ratio_to_first=ratio.value,
                ratio_to_first_low=ratio.low,
                ratio_to_first_high=ratio.high,
                call_ms=call and call.ms,
                ram_bytes=measured.series.ram_bytes.get(name),
            )
        )
    ours = measured[REFERENCE_NAME]
    return LatencySession(
        host=ours.host,
        runtime=ours.runtime,
        threads=ours.threads,
        reference_ms=ours.ms,
        noisy=any(latency.noisy for latency in measured.latencies.values()),
        aa_ratio=measured.twin.value,
        aa_low=measured.twin.low,
        aa_high=measured.twin.high,
        files=timed,
        failed=failed,
        timed_at=timed_at,
    )


def _quiet_ms(series: Series) -> float:
    return float(np.percentile(series.times_ms[REFERENCE_NAME], QUIET_PERCENTILE))


def refused(files: Mapping[str, Path], runtime: Choice, wait_s: float) -> dict[str, str]:
    """Files whose first pass does not end within `wait_s` seconds, each with the reason."""
    reasons = {}
    for name, path in files.items():
        try:
            first_pass.check(path, runtime, wait_s)
        except ArtifactError as error:
            reasons[name] = str(error)
    return reasons


def _hash(path: Path) -> str:
    """Hash of a file's content; empty when it cannot be read."""
    try:
        return sha256(path)
    except OSError:
        return ""


def _runtime_of(path: Path | None, session_runtime: str) -> str:
    """Name of the runtime on which a session times a file; without a path, the session's own."""
    return session_runtime if path is None else name_for(suffix_of(path), session_runtime)


def _latency(timing: Timing, idle_ms: float, place: TimingPlace, runtime: str, noisy: bool) -> Latency:
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
        noisy=noisy or is_disturbed(timing),
        runtime=runtime,
        threads=place.threads,
        host=place.host,
    )
