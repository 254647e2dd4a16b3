"""Ways to run the command line, in this process and in one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
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


@pytest.fixture
def boxes_data(home: Path, result: Callable[..., Any]) -> Callable[[int, int], Path]:
    """Builds a data set of so many grey pictures, each with a bright box, of so many classes."""

    def build(pictures: int, classes: int) -> Path:
        rng = np.random.default_rng(0)
        for number in range(pictures):
            folder = home / "drawn" / ("train", "train", "val")[number % 3]
            folder.mkdir(parents=True, exist_ok=True)
            x, y = rng.integers(0, 32, 2)
            picture = np.full((64, 64, 3), 60, np.uint8)
            picture[y : y + 24, x : x + 32] = 220
            cv2.imwrite(str(folder / f"{number}.png"), picture)
            row = f"{number // 3 % classes} {(x + 16) / 64} {(y + 12) / 64} 0.5 0.375\n"
            (folder / f"{number}.txt").write_text(row)
        names = ",".join(map(str, range(classes)))
        result("data", "build", "--images", "drawn", "--out", "data", "--classes", names)
        return home / "data/dataset.parquet"

    return build
