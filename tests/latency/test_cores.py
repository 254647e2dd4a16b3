"""Which core a timing process gets, and what the system says it did there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from whc.latency import cores
from whc.latency.cores import Usage, idlest_cores, pin, thread_usage


def stat(path: Path, busy: dict[int, int]) -> Path:
    lines = [f"cpu{core} {ticks} 0 0 {10_000 - ticks} 50 0 0 0 0 0" for core, ticks in busy.items()]
    path.write_text("\n".join(["cpu  1 1 1 1 1 1 1 1 0 0", *lines, "intr 5", "cpufreq 9"]))
    return path


@pytest.mark.parametrize(
    ("busy", "count", "expected"),
    [
        ({0: 5, 1: 0, 2: 9}, 1, [1]),
        ({0: 5, 1: 0, 2: 9}, 2, [1, 0]),
        ({0: 0, 1: 0, 2: 0}, 1, [2]),
        ({0: 0, 1: 0, 2: 7}, 9, [1, 0, 2]),
        ({0: 9, 1: 9, 2: 9, 3: 0}, 1, [2]),  # core 3 is not this process's to use
    ],
)
def test_the_idlest_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: dict[int, int], count: int, expected: list[int]
) -> None:
    path = stat(tmp_path / "stat", dict.fromkeys(busy, 100))
    monkeypatch.setattr(cores, "_CPU_STAT_FILE", path)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(cores.time, "sleep", lambda _: stat(path, {core: 100 + more for core, more in busy.items()}))
    assert idlest_cores(count) == expected


def test_a_system_that_keeps_no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_CPU_STAT_FILE", tmp_path / "gone")
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert idlest_cores(1, 0) == [1]


def test_a_system_that_lets_nobody_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cores.os, "sched_getaffinity", raising=False)
    assert idlest_cores(2) == []
    pin([])


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins no process")
def test_pinning() -> None:
    imports = "import os; from whc.latency.cores import idlest_cores, pin"
    code = f"{imports}; pin(idlest_cores(1)); print(len(os.sched_getaffinity(0)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "1\n"


def test_work_is_accounted_for_and_sleep_is_not() -> None:
    before = thread_usage()
    time.sleep(0.02)
    slept = thread_usage()
    while time.thread_time() - slept.processor_s < 0.02:
        pass
    worked = thread_usage()
    assert slept.processor_s - before.processor_s < 0.01
    assert worked.processor_s - slept.processor_s >= 0.01
    assert worked.switches >= before.switches


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (Usage(1.010, 3), False),  # on its core all the time
        (Usage(1.005, 4), True),  # half of the time someone else was
        (Usage(1.005, 3), False),  # it slept by its own will, as one that waits for a GPU does
        (Usage(1.0099, 4), False),  # for a moment that does not matter
    ],
)
def test_interruptions(later: Usage, expected: bool) -> None:
    assert Usage(1.0, 3).interrupted(later, 0.010) is expected
