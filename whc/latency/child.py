"""The process in which files are loaded, run and timed: one that may crash, hang or run out of memory without harm.

`watch` starts it as `python -m whc.latency.child FOLDER`. It reads `job.json` there, writes into `beat` which file it
is about to load or run, and leaves `result.json`: data alone goes from one process to the other.
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
from whc.errors import WhcError
from whc.latency.cores import pin
from whc.latency.timing import REFERENCE, Load, Protocol, Run, take
from whc.plugins import Choice, ChoiceOf
from whc.records import write_atomic
from whc.runtimes import RuntimeUnavailable

BEAT = "beat"
SILENT = -1  # no file yet
PR_SET_PDEATHSIG = 1


class Job(Settings):
    """What to run: name -> file, in the order in which `beat` counts them; timed if the reference network is there.

    `memory_bytes` is what it may take of it; `parent` is the process that waits for the result; `batch` counts the
    pictures of a pass.
    """

    files: dict[str, Path]
    runtime: Annotated[Choice, ChoiceOf("runtimes")]
    protocol: Protocol
    cores: list[int]
    memory_bytes: int
    parent: int
    batch: int = 1


class Result(Settings):
    """What came of it: the blocks as in `Series`, and name -> reason for each file that was refused.

    `unavailable` says why the runtime cannot be had here at all.
    """

    times_ms: dict[str, list[list[float]]] = {}
    interrupted: dict[str, float] = {}
    failed: dict[str, str] = {}
    unavailable: str = ""


def runner(path: Path, runtime: Choice, seed: int | None = 0, batch: int = 1) -> Run:
    """One forward pass of a file, on a fixed random input, without a seed on a black one.

    Raises:
        ArtifactError: the file cannot be loaded, or its input has no fixed size.
    """
    session = plugins.load("runtimes", runtime.name).load(path, runtime.config)
    shape = (batch, *session.input_shape[1:])
    images = np.zeros(shape, np.float32) if seed is None else np.random.default_rng(seed).random(shape, np.float32)
    return lambda: session.run(images)


def beat(folder: Path) -> NDArray[np.int64]:
    """The file both processes look at: which file is at work, beats so far, milliseconds until the next at most."""
    return np.memmap(folder / BEAT, np.int64, "r+", shape=(3,))


def main(folder: Path) -> None:
    """Time the files of a job."""
    sys.excepthook = _last_words
    job = Job.model_validate_json((folder / "job.json").read_bytes())
    if sys.platform == "linux":
        _die_alone(job.memory_bytes)
        _die_with(job.parent)
    pin(job.cores)
    write_atomic(folder / "result.json", _work(job, beat(folder)).model_dump_json())
    os._exit(0)  # a runtime that falls over its own tidying up has still given its times


def _work(job: Job, pulse: NDArray[np.int64]) -> Result:
    """Load and run every file once, to know those that are refused, and time the others."""
    places = {name: place for place, name in enumerate(job.files)}

    def announce(name: str, within_s: float = job.protocol.timeout_s) -> None:
        pulse[0], pulse[2] = places[name], within_s * 1000
        pulse[1] += 1

    seed = 0 if REFERENCE in job.files else None  # what is not timed runs as who uses a file runs it first
    loads: dict[str, Load] = {
        name: partial(runner, path, job.runtime, seed, job.batch) for name, path in job.files.items()
    }
    failed: dict[str, str] = {}
    for name in list(loads):
        try:
            announce(name, job.protocol.load_timeout_s)
            run = loads[name]()
            announce(name)
            run()
        except RuntimeUnavailable as error:
            return Result(unavailable=str(error))
        except WhcError as error:
            failed[name] = str(error)
            del loads[name]
    if REFERENCE not in loads:
        return Result(failed=failed)
    series = take(loads, job.protocol, announce=announce)
    times = {name: times.tolist() for name, times in series.times_ms.items()}
    return Result(times_ms=times, interrupted=series.interrupted, failed=failed)


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
    """The traceback, and in the last line what went wrong: `watch` tells that line."""
    sys.__excepthook__(kind, error, trace)
    said = str(error).strip().splitlines()
    print(f"{kind.__name__}: {said[0] if said else 'no reason given'}", file=sys.stderr)  # noqa: T201


def _die_alone(memory_bytes: int) -> None:
    """Fail at a model that needs more memory than that, instead of the system choosing whom to kill."""
    import resource

    # Not the address space, of which a GPU's driver reserves far more than there is memory.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _data_bytes() + memory_bytes
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    with suppress(OSError):  # not every container lets a process offer itself
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _data_bytes() -> int:
    """What this process has taken already, as the limit counts it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def _die_with(parent: int) -> None:
    """Not to outlive, in a hung model, a parent that was killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be watched
        os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
