"""Real files on the real runtime; how long they take is not looked at, only how it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from whc.errors import ArtifactError
from whc.latency import reference
from whc.latency.bench import bench, runner
from whc.latency.host import host
from whc.latency.timing import REFERENCE, Protocol
from whc.plugins import ChoiceOf

RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
QUICK = Protocol(block_ms=0.2, warmup_ms=1, min_rounds=5, max_rounds=5)


def test_latencies(tmp_path: Path) -> None:
    path = reference.write(tmp_path / "twin.onnx")
    found = bench({"twin": path, "again": path}, RUNTIME, QUICK)
    assert list(found) == ["twin", "again", REFERENCE]
    assert found[REFERENCE].ratio == 1
    for latency in found.values():
        assert 0 < latency.low_ms <= latency.ms <= latency.high_ms
        assert 0 < latency.p90_ms <= latency.p99_ms
        assert latency.ms == pytest.approx(latency.ratio * found[REFERENCE].ms)
        assert (latency.runtime, latency.threads, latency.host) == ("onnxruntime_cpu", 1, host())


def test_milliseconds_are_of_the_idle_reference(tmp_path: Path) -> None:
    path = reference.write(tmp_path / "twin.onnx")
    found = bench({"twin": path}, RUNTIME, QUICK, reference_ms=7.0)
    assert (found[REFERENCE].ms, found[REFERENCE].low_ms, found[REFERENCE].high_ms) == (7, 7, 7)
    assert found["twin"].ms == pytest.approx(7 * found["twin"].ratio)


def test_nothing_but_the_reference() -> None:
    assert list(bench({}, RUNTIME, QUICK)) == [REFERENCE]


def test_threads_are_told(tmp_path: Path) -> None:
    runtime = ChoiceOf("runtimes").parse({"onnxruntime_cpu": {"threads": 2}})
    assert bench({}, runtime, QUICK)[REFERENCE].threads == 2


@pytest.mark.parametrize("content", [None, b"", b"broken"])
def test_a_file_that_cannot_be_loaded(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        bench({"broken": path}, RUNTIME, QUICK)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_input_is_the_same_for_everyone(tmp_path: Path) -> None:
    path = reference.write(tmp_path / "twin.onnx")
    first, second = runner(path, RUNTIME)(), runner(path, RUNTIME)()
    assert (first == second).all()  # type: ignore[attr-defined]
