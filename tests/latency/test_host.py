"""What a record says of the machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from whc.config import fingerprint
from whc.latency import host


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """GPUs are asked for once a process."""
    host.gpu.cache_clear()
    yield
    host.gpu.cache_clear()


def test_it_is_the_same_each_time() -> None:
    assert host.host() == host.host()


def test_it_names_what_latency_depends_on_and_nothing_else() -> None:
    parts = host.description()
    assert set(parts) - set(host.RUNTIME_LIBRARIES) == {"cpu", "cores", "system", "governor", "gpu"}
    assert parts["onnxruntime"] == onnxruntime.__version__
    assert parts["numpy"] == np.__version__
    assert int(parts["cores"]) >= 1
    line = host.host()
    assert line.startswith(f"{parts['cpu']}, {parts['cores']} cores, ")
    assert f" onnxruntime {onnxruntime.__version__}, " in line
    assert f" numpy {np.__version__} (" in line
    assert line.endswith(f"({fingerprint(parts)[:8]})")


@pytest.mark.parametrize(
    ("part", "value", "expected"),
    [
        ("cpu_model", "Abacus 3000", "Abacus 3000, "),
        ("governor", "powersave", " cores, governor powersave, "),
        ("gpu", "Abacus GPU driver 1.2", " cores, Abacus GPU driver 1.2, "),
        ("libraries", [("onnxruntime", "0.1"), ("numpy", "0.2")], " cores, onnxruntime 0.1, numpy 0.2 ("),
    ],
)
def test_another_machine_reads_differently(
    monkeypatch: pytest.MonkeyPatch, part: str, value: object, expected: str
) -> None:
    monkeypatch.setattr(host, "governor", lambda: "")
    monkeypatch.setattr(host, "gpu", lambda: "")
    here = host.host()
    monkeypatch.setattr(host, part, lambda: value)
    there = host.host()
    assert expected in there
    assert there[-9:] != here[-9:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "processor\t: 0\nmodel name\t: Abacus: 3 @ 1 Hz\nmodel name\t: Other\n",
            "Abacus: 3 @ 1 Hz",
        ),
        ("Hardware\t: board\n", "aarch64"),
    ],
)
def test_the_processor_s_name(monkeypatch: pytest.MonkeyPatch, text: str, expected: str) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: text)
    monkeypatch.setattr(host.platform, "machine", lambda: "aarch64")
    assert host.cpu_model() == expected


def test_systems_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path, encoding: str) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(host.platform, "processor", lambda: "arm")
    assert host.cpu_model() == "arm"


@pytest.mark.parametrize(
    ("governors", "expected"),
    [([], ""), (["performance\n"] * 2, "performance"), (["schedutil\n", "performance\n"], "performance+schedutil")],
)
def test_the_governor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, governors: list[str], expected: str) -> None:
    for core, text in enumerate(governors):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(text)
    monkeypatch.setattr(host, "_CPU_FOLDER", tmp_path)
    assert host.governor() == expected


def answers(text: str) -> Callable[..., Any]:
    return lambda command, **_: subprocess.CompletedProcess(command, 0, stdout=text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Abacus H9, 570.1\n", "Abacus H9 driver 570.1"),
        ("Abacus H9, 570.1\nAbacus H9, 570.1\n", "Abacus H9 driver 570.1"),
        ("Abacus H9, 570.1\nAbacus A1, 570.1\n", "Abacus A1 driver 570.1, Abacus H9 driver 570.1"),
    ],
)
def test_gpus(monkeypatch: pytest.MonkeyPatch, text: str, expected: str) -> None:
    monkeypatch.setattr(host.subprocess, "run", answers(text))
    assert host.gpu() == expected


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(), subprocess.CalledProcessError(9, "nvidia-smi"), subprocess.TimeoutExpired("nvidia-smi", 10)],
)
def test_no_gpu_or_a_broken_driver(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(command: object, **_: object) -> None:
        raise error

    monkeypatch.setattr(host.subprocess, "run", fails)
    assert host.gpu() == ""
