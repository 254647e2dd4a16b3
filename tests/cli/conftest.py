"""Ways to run the command line, in this process and in one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import whc.cli


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code and its two streams."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, so that runs/ and the registry are this test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WHC_RUNS", raising=False)
    return tmp_path


@pytest.fixture
def whc_command(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `whc` through its real entry point, in this process."""
    del home

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["whc", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            whc.cli.main()
        assert isinstance(end.value.code, int)
        return Ended(end.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def whc_process(home: Path) -> Run:
    """Runs `whc` as a user does, in a process of its own."""

    def run(*arguments: object) -> Ended:
        command = [sys.executable, "-c", "from whc.cli import main; main()", *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=home)
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def result(whc_command: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a command with --json; gives the object that stdout holds, and holds alone."""

    def run(*arguments: object) -> Any:
        ended = whc_command(*arguments, "--json")
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    return run
