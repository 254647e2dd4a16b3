"""The process in which files are loaded, run and timed: it may crash, hang or run out of memory without harm.

`watch` starts it as `python -m whc.latency.child FOLDER`. It reads `job.json` there, writes into `heartbeat` which file
it is about to load or run, and leaves `result.json`. The two processes exchange nothing but data.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from whc import plugins
from whc.config import Settings
from whc.errors import RuntimeUnavailable, WhcError
from whc.latency.cores import pin
from whc.latency.timing import REFERENCE_NAME, ForwardPass, NetworkLoader, Protocol, time_networks
from whc.plugins import Choice, ChoiceOf
from whc.records import write_atomic
from whc.runtimes import suited

HEARTBEAT_FILE = "heartbeat"
NO_FILE_YET = -1
PR_SET_PDEATHSIG = 1


class ChildJob(Settings):
    """What to run: name -> file, in the order in which the heartbeat counts them.

    The files are timed if the reference network is among them. `memory_bytes` is the memory that the process may take;
    `parent` is the process that waits for the result; `batch` is the number of pictures in a pass.
    """

    files: dict[str, Path]
    runtime: Annotated[Choice, ChoiceOf("runtimes")]
    protocol: Protocol
    cores: list[int]
    memory_bytes: int
    parent: int
    batch: int = 1


class ChildResult(Settings):
    """The blocks as in `Series`, and name -> reason for each file that was refused.

    `unavailable` says why the runtime does not work on this machine at all. `peaks` are the bytes of memory that the
    process had taken at most after it had run each file once; empty where files were timed, or the system does not say.
    """

    times_ms: dict[str, list[list[float]]] = {}
    interrupted: dict[str, float] = {}
    failed: dict[str, str] = {}
    peaks: dict[str, int] = {}
    unavailable: str = ""


def forward_pass(path: Path, runtime: Choice, seed: int | None = 0, batch: int = 1) -> ForwardPass:
    """One forward pass of a file on a fixed random input; on a black input where there is no seed.

    A file that the runtime does not read, such as the reference network, runs on the usual runtime of its kind.

    Raises:
        ArtifactError: the file cannot be loaded, or its input has no fixed size.
    """
    choice = suited(path, runtime)
    session = plugins.load("runtimes", choice.name).load(path, choice.config)
    shape = (batch, *session.input_shape[1:])
    images = np.zeros(shape, np.float32) if seed is None else np.random.default_rng(seed).random(shape, np.float32)
    return lambda: session.run(images)


def open_heartbeat(folder: Path) -> NDArray[np.int64]:
    """The array that both processes share: number of the file at work, beats so far, milliseconds to the next beat."""
    return np.memmap(folder / HEARTBEAT_FILE, np.int64, "r+", shape=(3,))


def main(folder: Path) -> None:
    """Time the files of a job."""
    sys.excepthook = _print_error
    job = ChildJob.model_validate_json((folder / "job.json").read_bytes())
    if sys.platform == "linux":
        _limit_memory(job.memory_bytes)
        _die_with_parent(job.parent)
    pin(job.cores)
    write_atomic(folder / "result.json", _run_files(job, open_heartbeat(folder)).model_dump_json())
    os._exit(0)  # a runtime may crash while it cleans up, after its times are written


def _run_files(job: ChildJob, heartbeat: NDArray[np.int64]) -> ChildResult:
    """Load and run every file once to find those that are refused, then time the others."""
    places = {name: place for place, name in enumerate(job.files)}

    def announce(name: str, within_s: float = job.protocol.timeout_s) -> None:
        heartbeat[0], heartbeat[2] = places[name], within_s * 1000
        heartbeat[1] += 1

    seed = 0 if REFERENCE_NAME in job.files else None  # an untimed pass is like the first pass of a file in use
    loads: dict[str, NetworkLoader] = {
        name: partial(forward_pass, path, job.runtime, seed, job.batch) for name, path in job.files.items()
    }
    failed: dict[str, str] = {}
    peaks: dict[str, int] = {}
    for name in list(loads):
        try:
            announce(name, job.protocol.load_timeout_s)
            run = loads[name]()
            announce(name)
            run()
            peaks[name] = _status_bytes("VmHWM") if sys.platform == "linux" else 0
        except RuntimeUnavailable as error:
            return ChildResult(unavailable=str(error))
        except WhcError as error:
            failed[name] = str(error)
            del loads[name]
    if REFERENCE_NAME not in loads:
        return ChildResult(failed=failed, peaks=peaks)
    series = time_networks(loads, job.protocol, announce=announce)
    times = {name: times.tolist() for name, times in series.times_ms.items()}
    return ChildResult(times_ms=times, interrupted=series.interrupted, failed=failed)


def _print_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
    """Print the traceback, and the reason as the last line: `watch` reports that line."""
    sys.__excepthook__(kind, error, trace)
    lines = str(error).strip().splitlines()
    print(f"{kind.__name__}: {lines[0] if lines else 'no reason given'}", file=sys.stderr)  # noqa: T201


def _limit_memory(memory_bytes: int) -> None:
    """Make a model that needs more memory fail here; else the system chooses which process to kill."""
    import resource

    # Not a limit on the address space: a GPU's driver reserves far more of it than there is memory.
    _, hard_limit = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _status_bytes("VmData") + memory_bytes  # what is taken already counts
    limit = limit if hard_limit == resource.RLIM_INFINITY else min(limit, hard_limit)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard_limit))
    with suppress(OSError):  # some containers do not let a process ask to be killed first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _status_bytes(name: str) -> int:
    """A number of bytes that Linux keeps of this process; 0 if it does not.

    Unlike the peak that `getrusage` gives, VmHWM begins anew with this process, and not with the one that started it.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _die_with_parent(parent: int) -> None:
    """Let this process end with its parent, also while a model hangs."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be watched
        os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
