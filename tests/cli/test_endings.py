"""How commands end when the operating system refuses, or when somebody ends them: a line and an exit code."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import whc.cli
from whc.records import StudyRecord

LIMIT_BYTES = 4096  # room for a configuration, and for nothing that a command makes


INTERRUPTED = """
import os, signal, sys, time
import whc.cli
from whc.data import parquet
number = int(sys.argv.pop())

def interrupted(path):
    try:
        os.kill(os.getpid(), number)
        time.sleep(60)
    except KeyboardInterrupt:
        print("finished", end=" ")
        raise

parquet.column_names = interrupted
watched = signal.SIGTERM, signal.SIGHUP
before = [signal.getsignal(each) for each in watched]
sys.argv = ["whc", "data", "info", "x.parquet"]
try:
    whc.cli.main()
finally:
    print([signal.getsignal(each) for each in watched] == before)
"""
HANG_UP_IGNORED = """
import os, signal
from whc.cli._endings import as_ctrl_c
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
with as_ctrl_c() as ending:
    os.kill(os.getpid(), signal.SIGHUP)
print(ending.exit_code, signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
"""
FORKED = """
import os, signal
from whc.cli._endings import as_ctrl_c
with as_ctrl_c():
    fork = os.fork()
    if fork == 0:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]))
"""


def child(program: str, folder: Path, *arguments: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def no_room() -> Iterator[None]:
    """Within, no file of this process grows further: as on a full disk, the error names none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, make_study: Callable[..., StudyRecord]) -> Path:
    """A folder with class folders, a study without trials, and rendered data."""
    from whc.data.synthetic import render

    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    for name in ("left", "right"):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(12):
            picture = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
            cv2.imwrite(str(folder / "images" / name / f"{number}.png"), picture)
    make_study(study="empty").save(folder / "runs" / "empty")
    render(folder / "data", clips=6)
    return folder


SMALL = "--set training.epochs=1 --set model.image_size=16 --set model.width=4 --diagnostics off"
WRITERS = [
    ("data synth --clips 6 --out {out}/o", "o/dataset.parquet"),
    ("data build --images images --split 60/20/20 --out {out}/o", "o/dataset.parquet"),
    ("report empty", "runs/empty/report.html"),
    (f"train --data data/dataset.parquet --out {{out}}/o {SMALL}", "o/checkpoints/epoch_00001.pt"),
]


@pytest.mark.parametrize(("command", "named"), WRITERS)
def test_no_room_is_told_in_one_line_that_names_the_file(
    command: str, named: str, inputs: Path, tmp_path: Path, whc_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    words = command.format(out=tmp_path).split()
    with no_room():
        ended = whc_command(*words)
    assert ended.code == 1, ended.err
    assert ended.out == ""
    (line,) = (line for line in ended.err.splitlines() if line.startswith("error: "))
    assert f"{named}: must have room on its disk, got File too large; free some space there" in line
    assert "Traceback" not in ended.err
    assert not list(tmp_path.rglob(".*tmp*"))


@pytest.mark.parametrize(
    ("path", "reason"),
    [("file/o", "Not a directory"), ("a" * 256, "File name too long"), ("loop/o", "Too many levels")],
)
def test_a_path_that_cannot_be_used(path: str, reason: str, home: Path, whc_command: Any) -> None:
    (home / "file").touch()
    (home / "loop").symlink_to("loop")
    ended = whc_command("data", "synth", "--clips", "6", "--out", path)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (1, "", 1)
    assert ended.err.startswith(f"error: {path}: must be a path that can be used, got {reason}")


def test_an_error_of_ours_keeps_its_traceback(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del home

    def broken(path: Path) -> None:
        os.close(10_000)

    monkeypatch.setattr("whc.data.parquet.column_names", broken)
    monkeypatch.setattr(sys, "argv", ["whc", "data", "info", "x.parquet"])
    with pytest.raises(OSError, match="Bad file descriptor"):
        whc.cli.main()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_ends_a_command_as_ctrl_c_does(number: signal.Signals, home: Path) -> None:
    """In a process of its own, as is every signal that would end the tests if it were not handled."""
    ended = child(INTERRUPTED, home, number)
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (128 + number, "finished True\n", "interrupted")


def test_a_hang_up_that_is_ignored_stays_so(home: Path) -> None:
    assert child(HANG_UP_IGNORED, home).stdout == "130 True\n"


def test_a_fork_dies_of_the_signal(home: Path) -> None:
    """The parent is a process of its own: a fork of one with threads may crash."""
    assert child(FORKED, home).stdout == f"{-signal.SIGTERM}\n"


def test_the_background_of_a_shell_can_be_ended(home: Path) -> None:
    """A shell starts it with Ctrl-C ignored."""
    script = "import os, signal, time; from whc.cli._endings import as_ctrl_c\n"
    script += "with as_ctrl_c():\n    try:\n        print('up', flush=True); time.sleep(60)\n"
    script += "    except KeyboardInterrupt: print('ended')"
    command = ["sh", "-c", '"$0" -c "$1" & wait', sys.executable, script]
    shell = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=home, start_new_session=True)
    assert shell.stdout is not None
    assert shell.stdout.readline() == "up\n"
    subprocess.run(["pkill", "-TERM", "-P", str(shell.pid)], check=True)
    assert shell.communicate(timeout=30)[0] == "ended\n"
