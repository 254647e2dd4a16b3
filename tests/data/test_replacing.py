"""Files that appear whole, and what killed processes leave."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from whc.data.replacing import replacing

PROGRAM = """
import sys, time
from pathlib import Path
from whc.data.replacing import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary.name, flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["a.csv", "a", "a" * 250 + ".csv", "é" * 120 + ".csv"])
def test_the_file_appears_when_it_is_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")
    with pytest.raises(ValueError, match="no"), replacing(path) as temporary:
        temporary.write_text("half")
        raise ValueError("no")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert (path.read_text(), temporary.suffix) == ("old", path.suffix or ".tmp")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["new"]


def test_what_a_killed_process_left_is_cleared_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    (tmp_path / ".a.notes.tmp.csv").touch()
    command = [sys.executable, "-c", PROGRAM, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        half = process.stdout.readline().strip()
        with replacing(path) as temporary:
            temporary.write_text("new")
        assert names(tmp_path) == sorted([".a.notes.tmp.csv", half, "a.csv"])
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    with replacing(tmp_path / "other.csv") as temporary:
        temporary.touch()
    assert half in names(tmp_path)
    with replacing(path) as temporary:
        temporary.write_text("newer")
    assert names(tmp_path) == [".a.notes.tmp.csv", "a.csv", "other.csv"]
