"""What a shell offers when Tab is pressed: names that are there, in less than a second."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from whc.plugins import names
from whc.records import StudyRecord

Complete = Callable[[str], list[str]]

SECONDS = 1.0
CODE = """
import atexit, sys
heavy = {"torch", "ray", "mlflow", "optuna", "cv2", "pandas", "onnxruntime", "numpy"}
atexit.register(lambda: print("heavy", sorted(heavy & set(sys.modules)), file=sys.stderr))
from whc.cli import main
sys.argv[0] = "whc"
main()
"""


@pytest.fixture
def complete(home: Path) -> Complete:
    """Asks as bash does, in a process of its own; gives `type,value` of each offer."""

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        asked = {"_WHC_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        command = [sys.executable, "-c", CODE]
        began = time.monotonic()
        done = subprocess.run(
            command, env=os.environ | asked, capture_output=True, text=True, check=False, cwd=home, timeout=60
        )
        assert done.stderr == "heavy []\n"
        assert time.monotonic() - began < 10 * SECONDS  # beside other tests; what it imports is what counts
        return done.stdout.split()

    return ask


@pytest.fixture
def studies(home: Path, make_study: Callable[..., StudyRecord]) -> None:
    for number, name in enumerate(("hands-1", "hands-2", "faces-1")):
        make_study(study=name).save(home / "runs" / name)
        os.utime(home / "runs" / name / "study.yaml", (number, number))


def test_commands_and_options(complete: Complete) -> None:
    assert complete("whc se") == ["plain,search"]
    assert complete("whc data bu") == ["plain,build"]
    assert complete("whc train --da") == ["plain,--data"]


@pytest.mark.parametrize(
    "command", ["whc studies show", "whc report", "whc search --resume --study", "whc search --warm-start"]
)
def test_studies(command: str, complete: Complete, studies: None) -> None:
    assert complete(f"{command} ") == ["plain,faces-1", "plain,hands-2", "plain,hands-1"]  # the newest first
    assert complete(f"{command} h") == ["plain,hands-2", "plain,hands-1"]


def test_studies_of_another_folder(complete: Complete, home: Path, studies: None) -> None:
    (home / "runs").rename(home / "elsewhere")
    assert complete("whc factory build-table --study ") == []
    assert complete("whc factory build-table --runs elsewhere --study f") == ["plain,faces-1"]


def test_spaces_recipes_and_runtimes(complete: Complete, home: Path) -> None:
    (home / "search_spaces").mkdir()
    (home / "search_spaces" / "mine.yaml").touch()
    assert {"plain,mine", "plain,tiny", "plain,smile"} <= set(complete("whc search --space "))
    assert complete("whc search --space mi") == ["plain,mine"]
    assert complete("whc search --space ./mi") == ["file,./mi"]  # the shell's own files
    assert complete("whc factory build-table --recipe t") == ["plain,tiny"]
    for command in ("demo", "predict", "bench x.onnx"):
        assert complete(f"whc {command} --runtime ") == [f"plain,{name}" for name in names("runtimes")]


@pytest.mark.parametrize("command", ["demo", "predict"])
def test_models(command: str, complete: Complete, home: Path) -> None:
    asked = f"whc {command} --model "
    assert complete(asked) == ["file,"]
    assert not (home / "runs").exists()  # looking makes no registry
    (home / "runs").mkdir()
    (home / "runs" / "mlflow.db").write_text("no database")
    assert complete(asked) == ["file,"]
    (home / "runs" / "mlflow.db").unlink()
    with closing(sqlite3.connect(home / "runs" / "mlflow.db")) as database:
        database.execute("CREATE TABLE registered_models (name TEXT)")
        database.executemany("INSERT INTO registered_models VALUES (?)", [("whc_p",), ("whc_m",), ("smile_l",)])
        database.commit()
    assert complete(asked) == ["plain,smile_l", "plain,whc_m", "plain,whc_p"]
    assert complete(f"{asked}whc") == ["plain,whc_m", "plain,whc_p"]
    assert complete(f"{asked}x.on") == ["file,x.on"]
