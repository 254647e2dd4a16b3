"""Which cores are idle, and what the system did to this process while it was timed."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
SAMPLE_S = 0.1


@dataclass(frozen=True)
class Usage:
    """Seconds of processor time of a thread, and how often it had to leave its core to another."""

    processor_s: float
    switches: int

    def interrupted(self, later: Usage, elapsed_s: float) -> bool:
        """Whether others held the core for more than a twentieth of the `elapsed_s` between the two."""
        return later.switches > self.switches and later.processor_s - self.processor_s < 0.95 * elapsed_s


def thread_usage() -> Usage:
    """Usage of this thread so far; nothing where the system keeps no account of single threads."""
    try:
        from resource import RUSAGE_THREAD, getrusage
    except ImportError:
        return Usage(0, 0)
    usage = getrusage(RUSAGE_THREAD)
    return Usage(usage.ru_utime + usage.ru_stime, usage.ru_nivcsw)


def idlest(count: int, sample_s: float = SAMPLE_S) -> list[int]:
    """The `count` cores with the least to do, among those that this process may use; empty where it cannot choose.

    Where there are more cores than working processes, the system keeps these off a core that another is pinned to.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    before = _busy_ticks()
    time.sleep(sample_s)
    after = _busy_ticks()
    busy = {core: after.get(core, 0) - before.get(core, 0) for core in os.sched_getaffinity(0)}
    # The first core serves most interrupts: of equals, the last.
    return sorted(busy, key=lambda core: (busy[core], -core))[:count]


def pin(cores: list[int]) -> None:
    """Keep this process on these cores; on all of them when there are none."""
    if cores:
        os.sched_setaffinity(0, cores)


def _busy_ticks() -> dict[int, int]:
    """Time that each core has worked since the system started, in ticks."""
    try:
        lines = _STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    ticks = {}
    for line in lines:
        if found := re.match(r"cpu(\d+) (.*)", line):
            user, nice, system, _idle, _iowait, *interrupts = map(int, found[2].split()[:8])
            ticks[int(found[1])] = user + nice + system + sum(interrupts)
    return ticks
