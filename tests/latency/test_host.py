"""What a record says of the machine."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from whc.config import fingerprint
from whc.latency import host


def test_it_is_the_same_each_time() -> None:
    assert host.host() == host.host()


def test_it_names_what_latency_depends_on_and_nothing_else() -> None:
    parts = host.description()
    assert set(parts) == {"cpu", "cores", "system", "onnxruntime"}
    assert parts["onnxruntime"] == onnxruntime.__version__
    assert int(parts["cores"]) >= 1
    assert str(parts["cpu"]) in host.host()
    assert fingerprint(parts)[:8] in host.host()


def test_another_machine_reads_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    here = host.host()
    monkeypatch.setattr(host, "cpu_model", lambda: "Abacus 3000")
    assert host.host() != here
    assert host.host().startswith("Abacus 3000, ")


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
