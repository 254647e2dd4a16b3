"""Which cores are idle, and what the system did to this process while it was timed."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

_CPU_STAT_FILE = Path("/proc/stat")
SAMPLE_S = 0.1


@dataclass(frozen=True)
class Usage:
    """Seconds of processor time of a thread, and how often the system gave its core to another thread."""

    processor_s: float
    switches: int

    def interrupted(self, later: Usage, elapsed_s: float) -> bool:
        """Whether other threads held the core for more than a twentieth of the `elapsed_s` between the two usages."""
        return later.switches > self.switches and later.processor_s - self.processor_s < 0.95 * elapsed_s


def thread_usage() -> Usage:
    """Usage of this thread so far; zero where the system does not count single threads."""
    try:
        from resource import RUSAGE_THREAD, getrusage
    except ImportError:
        return Usage(0, 0)
    usage = getrusage(RUSAGE_THREAD)
    return Usage(usage.ru_utime + usage.ru_stime, usage.ru_nivcsw)


def idlest_cores(count: int, sample_s: float = SAMPLE_S) -> list[int]:
    """The `count` least busy cores among those that this process may use; empty where it cannot choose.

    While there are more cores than working processes, the system keeps other processes off a core with a pinned one.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    before = _busy_ticks()
    time.sleep(sample_s)
    after = _busy_ticks()
    busy = {core: after.get(core, 0) - before.get(core, 0) for core in os.sched_getaffinity(0)}
    # The first core serves most interrupts: of equally busy cores, take the last.
    return sorted(busy, key=lambda core: (busy[core], -core))[:count]


def pin(cores: list[int]) -> None:
    """Keep this process on these cores; an empty list changes nothing."""
    if cores:
        os.sched_setaffinity(0, cores)


def _busy_ticks() -> dict[int, int]:
    """Ticks that each core has worked since the system started."""
    try:
        lines = _CPU_STAT_FILE.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    ticks = {}
    for line in lines:
        if match := re.match(r"cpu(\d+) (.*)", line):
            user, nice, system, _idle, _iowait, *interrupts = map(int, match[2].split()[:8])
            ticks[int(match[1])] = user + nice + system + sum(interrupts)
    return ticks
