"""Start the child and watch it; when it dies or hangs, blame the file it was at and go on without that file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from whc.errors import ArtifactError
from whc.latency import reference
from whc.latency.child import BEAT, SILENT, Job, Result, beat
from whc.latency.cores import idlest
from whc.latency.timing import REFERENCE, Protocol, Series
from whc.plugins import Choice
from whc.runtimes import RuntimeUnavailable

TWIN = "reference again"
POLL_S = 0.1
START_MS = 60_000


def collect(files: Mapping[str, Path], runtime: Choice, protocol: Protocol) -> tuple[Series, dict[str, str]]:
    """Time files together with the reference network, which is there twice, in a process of their own.

    Returns:
        The blocks of every file that could be timed, of `REFERENCE` and of `TWIN`; and for each other file the reason.

    Raises:
        RuntimeUnavailable: the runtime cannot be had here.
        ArtifactError: not even the reference network can be timed.
    """
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="whc-timing-") as scratch:
        folder = Path(scratch)
        yardstick = reference.write(folder / "reference.onnx")
        asked = {REFERENCE: yardstick, TWIN: yardstick, **files}
        while True:
            waiting = {name: path for name, path in asked.items() if name not in failed}
            result = attend(_job(waiting, runtime, protocol), folder)
            if result.unavailable:
                raise RuntimeUnavailable(result.unavailable)
            failed |= result.failed
            for name in (REFERENCE, TWIN):
                if name in failed:
                    raise ArtifactError(f"reference network: {failed[name]}")
            if result.times_ms:
                times = {name: np.array(rows) for name, rows in result.times_ms.items()}
                return Series(times, result.interrupted), failed


def _job(files: Mapping[str, Path], runtime: Choice, protocol: Protocol) -> Job:
    cores = idlest(getattr(runtime.config, "threads", 1))
    memory_bytes = psutil.virtual_memory().available
    return Job(
        files=files,
        runtime=runtime,
        protocol=protocol,
        cores=cores,
        memory_bytes=memory_bytes,
        parent=os.getpid(),
    )


def attend(job: Job, folder: Path, advice: str = "look for an endless loop in it") -> Result:
    """Run one child to its end; a child that gave no result gives the reason, under the name of the file it was at.

    Args:
        job: what the child does.
        folder: an empty one, for what goes from one process to the other.
        advice: on a file that gave no answer in time.
    """
    (folder / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
    np.array([SILENT, 0, START_MS], np.int64).tofile(folder / BEAT)
    pulse = beat(folder)
    command = [sys.executable, "-P", "-m", "whc.latency.child", str(folder)]
    with (folder / "stderr").open("w+", encoding="utf-8", errors="replace") as stderr:
        # A session of its own: Ctrl-C comes to this process alone, which then takes the child with it.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
        )
        try:
            hung = _hangs(process, pulse)
        finally:
            process.kill()
            process.wait()
        stderr.seek(0)
        said = stderr.read()
    if (folder / "result.json").is_file():
        return Result.model_validate_json((folder / "result.json").read_bytes())
    if pulse[0] == SILENT:
        raise RuntimeError(f"the process for files ended with {process.returncode} before it began:\n{said}")
    name = list(job.files)[pulse[0]]
    if hung:
        rule = f"must load, and run for a moment, within {pulse[2] / 1000:g} s"
        reason = f"{job.files[name]}: {rule}, got no answer; {advice}"
    else:
        seen = _cause(process.returncode, said)
        reason = f"{job.files[name]}: must run on {job.runtime.name}, got {seen}; mend the file, or try another runtime"
    return Result(failed={name: reason})


def _hangs(process: subprocess.Popen[bytes], pulse: NDArray[np.int64]) -> bool:
    """Wait for the end of a process; True when its pulse stood still for longer than it announced instead.

    What is counted is this process's own waiting, so that a machine that slept, or a stopped job, is not taken for a
    hang.
    """
    beats, still_s = 0, 0.0
    while still_s * 1000 <= pulse[2]:
        try:
            process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            still_s = still_s + POLL_S if pulse[1] == beats else 0.0
            beats = int(pulse[1])
        else:
            return False
    return True


def _cause(code: int, said: str) -> str:
    """Why a process died, in a few words."""
    if code == -signal.SIGKILL:
        return "SIGKILL, which is how the system stops what takes all memory"
    if code < 0:
        return signal.Signals(-code).name
    lines = said.strip().splitlines()
    return lines[-1] if lines else f"exit code {code}"
