"""A reader sees either nothing of a file or all of it, and what killed writers leave goes away."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from whc.records import replacing


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "a.png"
    for content in (b"first, and long", b"second"):
        with replacing(path) as temporary:
            assert (temporary.parent, temporary.suffix) == (path.parent, ".png")
            temporary.write_bytes(content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("odd"), OSError(errno.ENOSPC, "full")])
def test_a_write_that_breaks_off_leaves_the_old_file_alone(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_refused_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(OSError) as full, replacing(path):
        raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28]")
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, str(path))
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as folder, replacing(tmp_path / "folder") as temporary:
        temporary.touch()
    assert folder.value.filename == str(tmp_path / "folder")
    with pytest.raises(FileNotFoundError) as other, replacing(path):
        (tmp_path / "source").read_bytes()
    assert other.value.filename == str(tmp_path / "source")
    assert not path.exists()


@pytest.mark.parametrize("name", ["a.csv", "a", "a" * 250 + ".csv", "é" * 120 + ".csv"])
def test_any_name_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == (Path(name).suffix or ".tmp")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    path, host = tmp_path / "a.json", platform.node()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".a.{host}-{dead.pid}.tmp.json").touch()
    kept = {
        f".a.{host}-{os.getppid()}.tmp.json",
        f".a.another-{dead.pid}.tmp.json",
        f".b.{host}-{dead.pid}.tmp.json",
        f".a.{host}-{dead.pid}.tmp.csv",
        f".a.{host}-notes.tmp.json",
    }
    for name in kept:
        (tmp_path / name).touch()
    with replacing(path) as temporary:
        temporary.touch()
    assert {found.name for found in tmp_path.iterdir()} == {"a.json", *kept}
