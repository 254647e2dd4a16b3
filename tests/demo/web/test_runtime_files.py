"""The browser's runtime: its files are those that whc was tested with, or nothing is used."""

from __future__ import annotations

import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from whc.demo.web.runtime_files import RUNTIME_FOLDER, SHA512, pack, runtime_files
from whc.errors import UsageError

Npm = Callable[..., None]


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Npm:
    """Puts a program of that name on the PATH, which runs a shell script in the folder of the package."""

    def write(script: str) -> None:
        program = tmp_path / "bin" / "npm"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    return write


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must be a file of onnxruntime-web, got nothing there; run `make web`"):
        runtime_files(tmp_path)


def test_a_damaged_file(tmp_path: Path) -> None:
    for name in SHA512:
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(UsageError, match=r"must be that of onnxruntime-web .*, got '\w+\.\.\.'; run `make web`$"):
        runtime_files(tmp_path)


def test_the_files_there_are_whole() -> None:
    if not RUNTIME_FOLDER.is_dir():
        pytest.skip("needs `make web`")
    assert set(runtime_files()) == set(SHA512)


def test_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="npm: must be on the PATH, got none"):
        pack(tmp_path / "runtime")


def test_npm_fails(npm: Npm, tmp_path: Path) -> None:
    npm("echo a first line >&2; echo no network >&2; exit 1")
    with pytest.raises(
        UsageError, match=r"npm pack onnxruntime-web@.*: must succeed, got 'no network'; check"
    ) as caught:
        pack(tmp_path / "runtime")
    assert "\n" not in str(caught.value)


def test_a_package_of_other_files_leaves_nothing(npm: Npm, tmp_path: Path) -> None:
    source = tmp_path / "package" / "dist"
    source.mkdir(parents=True)
    for name in SHA512:
        (source / name).write_bytes(b"something else")
    with tarfile.open(tmp_path / "other.tar", "w:gz") as archive:
        archive.add(tmp_path / "package", "package")
    npm(f"cp {tmp_path / 'other.tar'} onnxruntime-web.tgz")
    with pytest.raises(UsageError, match=r"the package has changed: do not use it"):
        pack(tmp_path / "runtime")
    assert not (tmp_path / "runtime").exists()


def test_whole_files_are_not_packed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not RUNTIME_FOLDER.is_dir():
        pytest.skip("needs `make web`")
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = shutil.copytree(RUNTIME_FOLDER, tmp_path / "runtime")
    pack(folder)
    assert set(runtime_files(folder)) == set(SHA512)
