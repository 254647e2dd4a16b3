"""Start the child process and watch it; when it dies or hangs, blame the file at work and go on without that file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from whc.errors import ArtifactError, RuntimeUnavailable
from whc.latency import reference
from whc.latency.child import HEARTBEAT_FILE, NO_FILE_YET, ChildJob, ChildResult, open_heartbeat
from whc.latency.cores import idlest_cores
from whc.latency.timing import REFERENCE_NAME, Protocol, Series
from whc.plugins import Choice
from whc.runtimes import suffix_of, suited

TWIN_NAME = "reference twin"
EMPTY_NAME = "empty"
POLL_S = 0.1
START_TIMEOUT_MS = 60_000


def collect(
    files: Mapping[str, Path], runtime: Choice, protocol: Protocol, ram_of: Collection[str] = ()
) -> tuple[Series, dict[str, str]]:
    """Time files together with the reference network and its twin, in a process of their own.

    Args:
        files: name -> artifact.
        runtime: what runs them.
        protocol: how long to measure.
        ram_of: names of the files whose memory is measured too, each in a process of its own.

    Returns:
        The blocks of every file that could be timed, of `REFERENCE_NAME` and of `TWIN_NAME`; and the reason for each
        other file.

    Raises:
        RuntimeUnavailable: the runtime does not work on this machine.
        ArtifactError: not even the reference network can be timed.
    """
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="whc-timing-") as scratch:
        folder = Path(scratch)
        reference_file = reference.write(folder / reference.FILE_NAME)
        all_files = {REFERENCE_NAME: reference_file, TWIN_NAME: reference_file, **files}
        while True:
            remaining = {name: path for name, path in all_files.items() if name not in failed}
            result = run_child(_job(remaining, runtime, protocol), folder)
            if result.unavailable:
                raise RuntimeUnavailable(result.unavailable)
            failed |= result.failed
            for name in (REFERENCE_NAME, TWIN_NAME):
                if name in failed:
                    raise ArtifactError(f"reference network: {failed[name]}")
            if result.times_ms:
                times = {name: np.array(rows) for name, rows in result.times_ms.items()}
                names = [name for name in files if name in ram_of and name not in failed]
                taken = {name: ram_bytes(files[name], runtime) for name in names}
                ram = {name: size for name, size in taken.items() if size is not None}
                return Series(times, result.interrupted, ram), failed


def ram_bytes(path: Path, runtime: Choice) -> int | None:
    """Peak memory of a process that runs a file, beyond that of one which runs an empty network.

    Returns:
        Bytes of main memory; None where the file cannot be run, or the system does not say.
    """
    with tempfile.TemporaryDirectory(prefix="whc-memory-") as scratch:
        empty = reference.write_empty(Path(scratch) / f"{EMPTY_NAME}{suffix_of(path)}")
        peaks = run_child(_job({EMPTY_NAME: empty, "file": path}, runtime, Protocol()), Path(scratch)).peaks
    return peaks["file"] - peaks[EMPTY_NAME] if all(peaks.get(name) for name in (EMPTY_NAME, "file")) else None


def _job(files: Mapping[str, Path], runtime: Choice, protocol: Protocol) -> ChildJob:
    cores = idlest_cores(getattr(runtime.config, "threads", 1))
    memory_bytes = psutil.virtual_memory().available
    return ChildJob(
        files=files,
        runtime=runtime,
        protocol=protocol,
        cores=cores,
        memory_bytes=memory_bytes,
        parent=os.getpid(),
    )


def run_child(job: ChildJob, folder: Path, advice: str = "look for an endless loop in it") -> ChildResult:
    """Run one child process to its end; without a result, the file at work gets the reason.

    Args:
        job: what the child does.
        folder: an empty folder for the files that the two processes exchange.
        advice: next step for a file that gave no answer in time.
    """
    (folder / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
    np.array([NO_FILE_YET, 0, START_TIMEOUT_MS], np.int64).tofile(folder / HEARTBEAT_FILE)
    heartbeat = open_heartbeat(folder)
    command = [sys.executable, "-P", "-m", "whc.latency.child", str(folder)]
    with (folder / "stderr").open("w+", encoding="utf-8", errors="replace") as stderr:
        # A session of its own: Ctrl-C reaches this process alone, which then ends the child.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
        )
        try:
            hung = _has_hung(process, heartbeat)
        finally:
            process.kill()
            process.wait()
        stderr.seek(0)
        error_output = stderr.read()
    if (folder / "result.json").is_file():
        return ChildResult.model_validate_json((folder / "result.json").read_bytes())
    if heartbeat[0] == NO_FILE_YET:
        raise RuntimeError(f"the process for files ended with {process.returncode} before it began:\n{error_output}")
    name = list(job.files)[heartbeat[0]]
    if hung:
        rule = f"must load, and run for a moment, within {heartbeat[2] / 1000:g} s"
        reason = f"{job.files[name]}: {rule}, got no answer; {advice}"
    else:
        runtime, cause = suited(job.files[name], job.runtime).name, _cause(process.returncode, error_output)
        reason = f"{job.files[name]}: must run on {runtime}, got {cause}; mend the file, or try another runtime"
    return ChildResult(failed={name: reason})


def _has_hung(process: subprocess.Popen[bytes], heartbeat: NDArray[np.int64]) -> bool:
    """Wait for the end of a process; True when its heartbeat stopped for longer than it had announced.

    Only this process's own waiting is counted, so that a machine that slept, or a stopped job, is not taken for a
    hang.
    """
    beats, still_s = 0, 0.0
    while still_s * 1000 <= heartbeat[2]:
        try:
            process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            still_s = still_s + POLL_S if heartbeat[1] == beats else 0.0
            beats = int(heartbeat[1])
        else:
            return False
    return True


def _cause(code: int, error_output: str) -> str:
    """The reason why a process died, in a few words."""
    if code == -signal.SIGKILL:
        return "SIGKILL, which is how the system stops what takes all memory"
    if code < 0:
        return signal.Signals(-code).name
    lines = error_output.strip().splitlines()
    return lines[-1] if lines else f"exit code {code}"
