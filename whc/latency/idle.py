"""The reference network's milliseconds on an idle host, learnt over all sessions there.

A session's own median depends on the load at that time: one host took 0.026 ms when idle and 0.038 ms when busy, so
that the same network had 1.48 times the milliseconds in another study. The quietest session so far is the best
estimate of an idle host, so it is kept.
"""

from __future__ import annotations

from pathlib import Path

from whc import records
from whc.config import fingerprint
from whc.errors import StudyError
from whc.latency.bench import BenchResult
from whc.latency.timer import TimingPlace
from whc.latency.timing import CALL_VERSION
from whc.records import IdleReference

MAX_IDLE_RATIO = 1.1  # a host without other work stays below this multiple of its idle milliseconds from day to day


def learn(session: BenchResult, place: TimingPlace, cache: Path) -> float:
    """The reference network's milliseconds on a host when idle, estimated from all sessions up to this one.

    Args:
        session: the latest session; later calls take it into account.
        place: the host and the runtime that ran it.
        cache: folder of what has been measured.
    """
    file = cache / f"reference-{fingerprint({**place.identity, 'call': CALL_VERSION})}.json"
    earlier_ms = _read(file)
    if earlier_ms is None or session.quiet_ms < earlier_ms:
        records.save(IdleReference(host=place.host, runtime=place.runtime, ms=session.quiet_ms), file)
        return session.quiet_ms
    return earlier_ms


def _read(file: Path) -> float | None:
    """The milliseconds of earlier sessions; None where no file can be read."""
    try:
        return records.load(IdleReference, file).ms
    except StudyError:
        return None
