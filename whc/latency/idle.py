"""The reference network's milliseconds on an idle host, learnt over all sessions there.

A session's own median is of the load then: one host gave 0.026 ms idle and 0.038 ms busy, and the same network 1.48
times the milliseconds in two studies. The quietest session so far is the best guess at an idle host, so it is kept.
"""

from __future__ import annotations

from pathlib import Path

from whc import records
from whc.config import fingerprint
from whc.errors import StudyError
from whc.latency.bench import Bench
from whc.latency.host import host
from whc.plugins import Choice
from whc.records import IdleReference

SLOWER = 1.1  # times the idle milliseconds: what a host without other work stays below from day to day


def learn(session: Bench, runtime: Choice, cache: Path) -> float:
    """The reference network's milliseconds on this host when idle, as far as sessions up to this one can tell.

    Args:
        session: the latest, which is taken into account for those to come.
        runtime: what ran it.
        cache: folder of what has been measured.
    """
    kept = cache / f"reference-{fingerprint({'host': host(), 'runtime': runtime.dump()})}.json"
    earlier_ms = _read(kept)
    if earlier_ms is None or session.quiet_ms < earlier_ms:
        records.save(IdleReference(host=host(), runtime=runtime.name, ms=session.quiet_ms), kept)
        return session.quiet_ms
    return earlier_ms


def _read(kept: Path) -> float | None:
    """What earlier sessions have left; None where nothing is there that can be read."""
    try:
        return records.load(IdleReference, kept).ms
    except StudyError:
        return None
