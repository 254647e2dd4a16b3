"""Real crashes, hangs and greed, in real processes: they cost the file that they come from, and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from whc.errors import ArtifactError, RuntimeUnavailable
from whc.latency import watch
from whc.latency.timing import REFERENCE_NAME, Protocol
from whc.latency.watch import TWIN_NAME, collect
from whc.plugins import ChoiceOf

Bad = Callable[[str], Path]
RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
QUICK = Protocol(block_ms=0.2, warmup_ms=1, min_rounds=5, max_rounds=5, timeout_s=30)


def children(parent: int | None = None) -> list[psutil.Process]:
    """Timing processes of a process, by default this one."""
    return [child for child in psutil.Process(parent).children() if "whc.latency.child" in child.cmdline()]


@contextmanager
def killer(number: int) -> Iterator[None]:
    """Sends a signal to the timing process once it has worked for a second of processor time, as a hung one does."""

    def kill() -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            for child in children():
                if child.cpu_times().user > 1.5:
                    child.send_signal(number)
                    return
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_all_is_timed_with_the_reference_twice(good: Path) -> None:
    series, failed = collect({"a": good, "b": good}, RUNTIME, QUICK)
    assert failed == {}
    assert series.times_ms.keys() == series.interrupted.keys() == {"a", "b", REFERENCE_NAME, TWIN_NAME}
    assert {times.shape for times in series.times_ms.values()} == {(1, 5)}
    assert all((times > 0).all() for times in series.times_ms.values())
    assert children() == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "must be an ONNX file, got nothing there; check the path"),
        ("text", "must be an ONNX file that ONNX Runtime can run, got: "),
        ("unknown", "must be an ONNX file that ONNX Runtime can run, got: "),
        ("two_inputs", "must have one float32 input, got [('images', 'tensor(float)'), ('more', 'tensor(float)')]; "),
        ("open_height", "'height'"),
        ("hungry", "Failed to allocate memory"),
    ],
)
def test_bad_files_leave_the_others_alone(good: Path, bad: Bad, name: str, message: str) -> None:
    path = bad(name)
    series, failed = collect({"bad": path, "good": good}, RUNTIME, QUICK)
    assert series.times_ms.keys() == {"good", REFERENCE_NAME, TWIN_NAME}
    assert failed.keys() == {"bad"}
    assert failed["bad"].startswith(f"{path}: must ")
    assert message in failed["bad"]
    assert "; " in failed["bad"]
    assert "\n" not in failed["bad"]


def test_a_hang_is_ended(good: Path, bad: Bad) -> None:
    path = bad("endless")
    files = {"good": good, "bad": path, "again": good}
    series, failed = collect(files, RUNTIME, QUICK.model_copy(update={"timeout_s": 1.0}))
    assert series.times_ms.keys() == {"good", "again", REFERENCE_NAME, TWIN_NAME}
    assert failed == {
        "bad": f"{path}: must load, and run for a moment, within 1 s, got no answer; look for an endless loop in it"
    }
    assert children() == []


@pytest.mark.parametrize(("number", "message"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "takes all memory")])
def test_a_crash_costs_its_own_file(good: Path, bad: Bad, number: int, message: str) -> None:
    path = bad("endless")
    with killer(number):
        series, failed = collect({"bad": path, "good": good}, RUNTIME, QUICK)
    assert series.times_ms.keys() == {"good", REFERENCE_NAME, TWIN_NAME}
    assert failed.keys() == {"bad"}
    assert failed["bad"].startswith(f"{path}: must run on onnxruntime_cpu, got SIG")
    assert message in failed["bad"]


def test_several_bad_files_are_told_each(good: Path, bad: Bad) -> None:
    files = {name: bad(name) for name in ("text", "hungry", "unknown", "missing")}
    series, failed = collect({**files, "good": good}, RUNTIME, QUICK)
    assert failed.keys() == files.keys()
    assert all(failed[name].startswith(f"{path}: ") for name, path in files.items())
    assert series.times_ms.keys() == {"good", REFERENCE_NAME, TWIN_NAME}


BENCH = "import sys; from whc.cli import main; sys.argv = ['whc', 'bench', sys.argv[1]]; main()"


@pytest.mark.parametrize("wait_s", [0, 1])  # the child still starts; it runs
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_child_goes_with_its_parent(bad: Bad, number: int, code: int, wait_s: float, tmp_path: Path) -> None:
    """Ctrl-C, and the death that no process can do anything about; in a process of its own, for it has to end."""
    command, scratch = [sys.executable, "-c", BENCH, str(bad("endless"))], {"TMPDIR": str(tmp_path)}
    whc = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | scratch)
    while not (result := children(whc.pid)):
        time.sleep(0.02)
    time.sleep(wait_s)
    whc.send_signal(number)
    _, error_output = whc.communicate(timeout=10)
    assert (whc.returncode, error_output.strip()) == (code, "interrupted" if code == 130 else "")
    _, alive = psutil.wait_procs(result, timeout=5)
    assert all(child.status() == psutil.STATUS_ZOMBIE for child in alive)


def test_a_runtime_that_cannot_run_the_reference(monkeypatch: pytest.MonkeyPatch, bad: Bad) -> None:
    monkeypatch.setattr(watch.reference, "write", lambda path: bad("text"))
    with pytest.raises(ArtifactError, match=r"^reference network: .*must be an ONNX file"):
        collect({}, RUNTIME, QUICK)


def test_a_runtime_that_is_not_installed(tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without it: its module is there, and cannot be imported."""
    (tmp_path / "openvino.py").write_text("raise ImportError('torn library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(RuntimeUnavailable, match="runtime openvino: must be installed, got torn library; "):
        collect({"a": good}, ChoiceOf("runtimes").parse("openvino"), QUICK)


def test_a_child_that_cannot_begin_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="before it began"):
        collect({}, RUNTIME, QUICK)
