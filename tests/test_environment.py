"""What whc leaves in a home folder, and whom it tells of its use: nothing and nobody, with a home folder or without."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from whc.data.synthetic import CLASS_LABELS
from whc.environment import prepare
from whc.training.checkpoint import Checkpoint, save
from whc.trials.artifacts import export, restore, untrained
from whc.trials.config import TrialConfig

WHC = [sys.executable, "-c", "from whc.cli import main; main()"]


def nobody() -> list[str]:
    """What runs a command as a user without an entry and without a home folder; empty where that may not be done."""
    unshare = shutil.which("unshare")
    command = [str(unshare), "--user", "--map-user=12345", "env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME"]
    command += ["-u", "LNAME", "-u", "USERNAME"]
    return command if unshare and subprocess.run([*command, "true"], check=False).returncode == 0 else []


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_space: Callable[..., None]) -> Path:
    """A user's folder with a model, a space and rendered data."""
    folder = tmp_path_factory.mktemp("user")
    write_space(folder, epochs=2)
    config = TrialConfig.model_validate({"model": {"width": 4, "depth": 1, "image_size": 16}})
    weights = untrained(config, CLASS_LABELS).state_dict()
    saved = Checkpoint(config.resolved(), weights, [*CLASS_LABELS], 10.0, "f00d", "1", 1, 0.5)
    save(saved, folder / "model.pt")
    export(*restore(saved, "model.pt"), saved, folder / "model.onnx")
    subprocess.run([*WHC, "data", "synth", "--out", "data", "--clips", "12"], cwd=folder, check=True)
    return folder


def whc(folder: Path, arguments: str, home: Path | None, before: list[str] | None = None) -> str:
    """Run a command with a home folder; gives what it says on stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_", "MPL"))}
    environment |= {"HOME": str(home)} if home else {}
    command = [*(before or []), *WHC, *arguments.split()]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


PREDICT = "predict --model model.onnx --source data/dataset.parquet --out p.csv"


def test_home_stays_empty(folder: Path, home: Path) -> None:
    whc(folder, PREDICT, home)
    assert not list(home.iterdir())


def test_home_stays_empty_with_openvino(folder: Path, home: Path) -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    whc(folder, "bench model.onnx --runtime openvino", home)  # in a child process
    assert not list(home.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not nobody(), reason="needs Linux's user namespaces, to be a user without an entry")
def test_works_for_a_user_without_an_entry_and_a_home(folder: Path, tmp_path: Path) -> None:
    steps = (
        PREDICT,
        f"train --data data/dataset.parquet --out {tmp_path}/run --set training.epochs=1",
        "search --space space.yaml --data data/dataset.parquet --study nobody --trials 1",
    )
    for step in steps:
        said = whc(folder, step, None, [*nobody(), f"TMPDIR={tmp_path}"])
        assert "Matplotlib" not in said
        assert "Traceback" not in said
    assert "1 failed" not in said


def test_a_user_without_an_entry_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pwd = pytest.importorskip("pwd", reason="needs a system with users")

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "")  # so that both are put back afterwards
    monkeypatch.setenv("USER", "")
    monkeypatch.delenv("HOME")
    prepare()
    assert getpass.getuser() == str(os.getuid())
    assert Path.home() == Path("/nonexistent")
    monkeypatch.setenv("HOME", "/somewhere")
    prepare()
    assert Path.home() == Path("/somewhere")
