"""`whc bench`: any ONNX files, timed against each other; what cannot be timed is told, the rest is timed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from whc import records
from whc.cli import bench
from whc.latency import bench as sessions
from whc.latency import reference
from whc.latency.timing import Protocol
from whc.records import Latency, LatencySession, TimedFile

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of a few rounds: nobody looks at their figures."""
    protocol = Protocol(block_ms=0.2, warmup_ms=1, min_rounds=5, max_rounds=5)
    real = sessions.session
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sessions, "session", lambda paths, runtime, _, **more: real(paths, runtime, protocol, **more))


@pytest.fixture
def good(home: Path) -> Path:
    reference.write(home / "good.onnx")
    return Path("good.onnx")


def test_the_result_as_json(good: Path, home: Path, whc_command: Run) -> None:
    (home / "copy.onnx").write_bytes(good.read_bytes())
    ended = whc_command("bench", good, "copy.onnx", good, "--json")
    assert (ended.code, ended.err) == (0, "")
    told = json.loads(ended.out)
    found = LatencySession.model_validate(told)
    assert [file["path"] for file in told["files"]] == ["good.onnx", "copy.onnx", "good.onnx"]
    assert {file["sha256"] for file in told["files"]} == {hashlib.sha256(good.read_bytes()).hexdigest()}
    assert found.files[0].ratio_to_first == 1
    for file in found.files:
        assert 0 < file.latency.low_ms <= file.latency.ms <= file.latency.high_ms
        assert 0 < file.latency.p50_ms <= file.latency.p90_ms <= file.latency.p99_ms
        assert 0 < file.ratio_to_first_low <= file.ratio_to_first <= file.ratio_to_first_high
    assert told["failed"] == []
    assert told["aa_low"] <= told["aa_ratio"] <= told["aa_high"]
    assert {"schema", "noisy", "host", "reference_ms"} <= told.keys()
    assert (told["runtime"], told["threads"]) == ("onnxruntime_cpu", 1)


def test_the_rest_is_timed(good: Path, home: Path, whc_command: Run) -> None:
    (home / "text.onnx").write_text("no network")
    ended = whc_command("bench", "gone.onnx", good, "text.onnx", "--json", "--out", "kept.json")
    assert ended.code == 1
    first, second = ended.err.splitlines()
    assert first.startswith("error: gone.onnx: must be an ONNX file, got nothing there; ")
    assert second.startswith("error: text.onnx: must be an ONNX file that ONNX Runtime can run, got: ")
    told = json.loads(ended.out)
    assert [file["path"] for file in told["files"]] == ["good.onnx"]
    assert [file["path"] for file in told["failed"]] == ["gone.onnx", "text.onnx"]
    assert [f"error: {file['reason']}" for file in told["failed"]] == [first, second]
    kept = records.load(LatencySession, home / "kept.json")
    assert kept.model_dump(mode="json", by_alias=True) == told


def test_the_same_for_people(good: Path, whc_command: Run) -> None:
    ended = whc_command("bench", good, good, "--threads", 2, "--runtime", "onnxruntime_cpu")
    assert (ended.code, ended.err) == (0, "")
    lines = " ".join(ended.out.split())
    assert lines.startswith("batch 1, 2 threads, onnxruntime_cpu, ")
    assert "x first" in lines
    assert lines.count("good.onnx") == 6  # in the table, in the parts of the time, and in memory
    assert "against itself " in lines


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ("--runtime onnxruntime_cup", 2, "runtime: must be one of "),
        ("--out .", 2, "--out: must be a file, got '.'; name a .json file in it"),
        ("--threads 0", 2, "Invalid value for '--threads'"),
    ],
)
def test_options_that_are_wrong(good: Path, whc_command: Run, options: str, code: int, told: str) -> None:
    ended = whc_command("bench", good, *options.split())
    assert (ended.code, ended.out) == (code, "")
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {told}")


def test_what_was_measured_is_told_though_it_cannot_be_kept(good: Path, whc_command: Run) -> None:
    ended = whc_command("bench", good, "--out", "good.onnx/x")
    assert ended.code == 1
    assert "x first" in " ".join(ended.out.split())
    (line,) = ended.err.splitlines()
    assert line.startswith("error: good.onnx: must be a path that can be used, got File exists; choose")


def session(noisy: bool) -> LatencySession:
    latency = Latency(
        ms=0.02, low_ms=0.019, high_ms=0.021, p90_ms=0.03, p99_ms=0.04, ratio=1.0, runtime="onnxruntime_cpu",
        threads=1, host="here", noisy=noisy,
    )  # fmt: skip
    file = TimedFile(
        path="a.onnx", sha256="f00d", latency=latency, ratio_to_first=1.0, ratio_to_first_low=1.0,
        ratio_to_first_high=1.0,
    )  # fmt: skip
    return LatencySession(
        host="here", runtime="onnxruntime_cpu", threads=1, reference_ms=0.02, noisy=noisy, aa_ratio=1.25, aa_low=1.2,
        aa_high=1.3, files=[file], failed=[],
    )  # fmt: skip


FOLDER = "runs/a-study-of-smiling-faces/candidates"


def of_paths(*paths: str) -> LatencySession:
    found = session(noisy=False)
    files = [found.files[0].model_copy(update={"path": path}) for path in paths]
    return found.model_copy(update={"files": files})


@pytest.mark.parametrize(
    ("paths", "folder", "names"),
    [
        ([f"{FOLDER}/00012.onnx", f"{FOLDER}/00034.onnx"], FOLDER, ["00012.onnx", "00034.onnx"]),
        ([f"{FOLDER}/00012.onnx"], FOLDER, ["00012.onnx"]),
        ([f"/{FOLDER}/a/m.onnx", f"/{FOLDER}/b/m.onnx"], f"/{FOLDER}", ["a/m.onnx", "b/m.onnx"]),
        (["a.onnx", "b/c.onnx"], "", ["a.onnx", "b/c.onnx"]),
        (["a/b.onnx", "/c/d.onnx"], "", ["a/b.onnx", "/c/d.onnx"]),
        ([f"{FOLDER}/{'x' * 40}_1.onnx", f"{FOLDER}/{'x' * 40}_2.onnx"], FOLDER, ["…x_1.onnx", "…x_2.onnx"]),
        ([f"{FOLDER}/[red].onnx"], FOLDER, ["[red].onnx"]),
    ],
)
def test_each_file_has_one_line_of_80_columns(
    paths: list[str], folder: str, names: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    Console(width=80).print(bench._table(of_paths(*paths)), soft_wrap=True)
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line[:1] in "┏┃┡│└"]
    assert max(map(len, table)) <= 80
    rows = [line for line in table if line.startswith("│")]
    assert len(rows) == len(paths)
    for name, row in zip(names, rows, strict=True):
        assert name in row
    assert (f"files in {folder}" in lines) is bool(folder)
    assert any(line.startswith("batch 1, 1 thread, ") for line in lines)


@pytest.mark.parametrize("noisy", [False, True])
def test_noise_is_told(noisy: bool, capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=120).print(bench._table(session(noisy)), soft_wrap=True)
    shown = capsys.readouterr().out
    assert "reference network, 0.0200 ms, against itself 1.250 (1.200 to 1.300)" in shown
    assert ("too noisy" in shown) is noisy


def test_what_a_call_costs_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = session(noisy=False).files
    on_litert = file.latency.model_copy(update={"runtime": "litert"})
    other = {"path": "b.tflite", "latency": on_litert, "call_ms": 0.003, "ram_bytes": 1_470_000}
    slow = file.model_copy(update=other)
    tiny = file.model_copy(update={"call_ms": 0.012, "ram_bytes": 800_000})
    Console(width=120).print(
        bench._table(session(noisy=False).model_copy(update={"files": [tiny, slow]})), soft_wrap=True
    )
    lines = capsys.readouterr().out.splitlines()
    told = " ".join(lines)
    assert (
        "A call of an empty network takes 0.0120 ms on onnxruntime_cpu and 0.0030 ms on litert; beyond it, ms: " in told
    )
    assert "ms: a.onnx 0.0080, b.tflite 0.0170" in told
    assert "Less than the call itself: a.onnx" in lines
    assert "Memory beyond an empty network, MB: a.onnx 0.8, b.tflite 1.5" in lines


def test_the_device_needs_nothing_that_only_training_has(home: Path) -> None:
    """All the way through the command line, in a process where nothing was imported before."""
    reference.write(home / "good.onnx")
    code = """
import atexit, json, sys
sys.argv = ["whc", "bench", "good.onnx", "--out", "kept.json"]
heavy = lambda: sorted({"torch", "ray", "pandas", "mlflow", "optuna", "cv2"} & set(sys.modules))
atexit.register(lambda: print("heavy:", heavy()))
from whc.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("heavy: []\n")
    assert len(records.load(LatencySession, home / "kept.json").files) == 1
