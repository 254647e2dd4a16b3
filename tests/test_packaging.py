"""What pip installs: with each extra, and on a device."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whc.latency import reference
from whc.latency.bench import session
from whc.latency.timer.client import connect
from whc.latency.timing import Protocol
from whc.plugins import ChoiceOf

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_FOR_DEVICES = {"torch", "ray", "mlflow", "optuna", "pandas", "pyarrow", "scikit-learn", "opencv-python"}


def packages(*extras: str) -> set[str]:
    """Names of the packages that whc requires with these extras."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    nested = [found[1].split(",") for line in lines if (found := re.fullmatch(r"whc\[(.+)\]", line))]
    names = {re.split(r"[\[<>=!~; ]", line)[0] for line in lines if not line.startswith("whc[")}
    return names.union(*(packages(*inner) for inner in nested))


def test_each_extra_brings_one_onnxruntime() -> None:
    ours = {"onnxruntime", "onnxruntime-gpu"}
    brought = {extra: packages(extra) & ours for extra in PROJECT["optional-dependencies"]}
    assert {extra: names for extra, names in brought.items() if names} == {
        "cpu": {"onnxruntime"},
        "gpu": {"onnxruntime-gpu"},
        "onnxruntime": {"onnxruntime"},
    }
    assert not packages() & ours


def test_both_are_otherwise_the_same() -> None:
    assert packages("cpu") ^ packages("gpu") == {"onnxruntime", "onnxruntime-gpu"}
    assert packages("cpu") >= NOT_FOR_DEVICES


@pytest.mark.parametrize("extra", ["onnxruntime", "openvino", "tensorrt"])
def test_a_device_gets_what_times_alone(extra: str) -> None:
    assert not packages(extra) & NOT_FOR_DEVICES


def test_what_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines if "==" in line}
    assert packages(*PROJECT["optional-dependencies"]) - pinned <= {"tensorrt", "cuda-bindings"}


@pytest.mark.parametrize(("smi", "extra"), [("true", "gpu"), ("false", "cpu")])
def test_make_asks_nvidia_smi(smi: str, extra: str, tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["make", "--dry-run", "--always-make", "setup"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert f'--editable ".[dev,{extra}]"' in done.stdout


def test_a_command_without_its_libraries_names_the_extras(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from whc.cli import main; main()"
    command = [sys.executable, "-c", code, "search", "--space", "tiny", "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: module torch: must be installed for this command, got none; "
        "run `pip install 'whc[cpu]'`, or `pip install 'whc[gpu]'` where there is an NVIDIA GPU\n"
    )


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment as on a device: what `pip install whc[onnxruntime]` brings, from a wheel of this checkout."""
    folder = tmp_path_factory.mktemp("device")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for command in (
        ["wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)],
        ["install", "--constraint", str(ROOT / "constraints.txt"), "whc[onnxruntime]", "--find-links", str(folder)],
    ):
        done = subprocess.run([*pip, *command], capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode and re.search(r"connection|retries|No matching distribution|Could not find", done.stderr):
            pytest.skip(f"needs a package index: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
    return folder / "venv" / "bin"


@pytest.fixture
def run(device: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs a program of that environment in an empty folder."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def start(program: str, *arguments: object) -> subprocess.Popen[str]:
        command = [str(device / program), *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


@pytest.mark.slow
@pytest.mark.xdist_group("device")
def test_a_device_times_and_runs_files(run: Callable[..., Any], tmp_path: Path) -> None:
    installed = json.loads(run("python", "-m", "pip", "list", "--format", "json").communicate()[0])
    names = {package["name"] for package in installed}
    assert "onnxruntime" in names
    assert not names & NOT_FOR_DEVICES
    file = reference.write(tmp_path / "file.onnx")
    timed = run("whc", "bench", file, "--json")
    assert json.loads(timed.communicate()[0])["files"]
    for arguments in (("search", "--space", "tiny", "--dry-run"), ("demo", "--model", file)):
        refused = run("whc", *arguments)
        _, said = refused.communicate()
        assert re.fullmatch(r"error: module \w+: must be installed for this command, got none; run `pip .*\n", said), (
            said
        )
        assert refused.returncode == 1


@pytest.mark.slow
@pytest.mark.xdist_group("device")
def test_a_device_serves_a_timer(run: Callable[..., Any], tmp_path: Path) -> None:
    token = "0123456789abcdef-of-these-tests"
    (tmp_path / "token").write_text(token)
    server = run("whc", "bench", "--serve", "--port", 0, "--token-file", "token")
    try:
        address = server.stdout.readline().split()[2].removeprefix("http://").rstrip(":")
        timer, runtime = connect(address, token), ChoiceOf("runtimes").parse("onnxruntime_cpu")
        quick = Protocol(block_ms=0.2, warmup_ms=1, min_rounds=5, max_rounds=5)
        found = session([reference.write(tmp_path / "file.onnx")], runtime, quick, timer=timer)
        assert (found.host, len(found.files)) == (timer.place.host, 1)
    finally:
        server.terminate()
        server.communicate()
    assert server.returncode == 0
