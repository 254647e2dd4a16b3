"""Milliseconds of sessions on one host are of one idle reference network, however busy each session was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whc.latency import bench as bench_module
from whc.latency import idle
from whc.latency.bench import BenchResult, bench
from whc.latency.timer import place_of
from whc.latency.timing import REFERENCE_NAME, Protocol, Series
from whc.latency.watch import TWIN_NAME
from whc.plugins import ChoiceOf

RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
PLACE = place_of(RUNTIME, None)


def session(
    monkeypatch: pytest.MonkeyPatch, reference_ms: float, busy: float = 0.0, reference: float | None = None
) -> BenchResult:
    """A session in which a share of the blocks takes 1.5 times as long; `file` takes twice the reference's time."""
    rng = np.random.default_rng(0)
    load = 1 + 0.5 * (rng.random((20, 10)) < busy)

    def collect(*_: object) -> tuple[Series, dict[str, str]]:
        levels = {REFERENCE_NAME: 1.0, TWIN_NAME: 1.0, "file": 2.0}
        times = {name: reference_ms * level * load for name, level in levels.items()}
        return Series(times, dict.fromkeys(levels, 0.0)), {}

    monkeypatch.setattr(bench_module, "collect", collect)
    return bench({"file": Path("file.onnx")}, RUNTIME, Protocol(), reference)


def test_load_that_comes_and_goes_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = session(monkeypatch, 0.02, busy=0.8)
    assert busy[REFERENCE_NAME].p50_ms == pytest.approx(0.03)
    assert busy["file"].ms == pytest.approx(0.04)


def test_the_quietest_session_of_a_host_counts_for_all_later_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    learnt = [idle.learn(session(monkeypatch, ms), PLACE, tmp_path) for ms in (0.03, 0.02, 0.031)]
    assert learnt == pytest.approx([0.03, 0.02, 0.02])
    files = [session(monkeypatch, ms, reference=learnt[-1])["file"] for ms in (0.02, 0.031)]
    assert files[0].ms == pytest.approx(files[1].ms)
    assert files[0].ratio == pytest.approx(files[1].ratio)


def test_another_runtime_and_another_host_have_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    two_threads = place_of(ChoiceOf("runtimes").parse({"onnxruntime_cpu": {"threads": 2}}), None)
    assert idle.learn(session(monkeypatch, 0.02), PLACE, tmp_path) == pytest.approx(0.02)
    assert idle.learn(session(monkeypatch, 0.03), two_threads, tmp_path) == pytest.approx(0.03)
    elsewhere = PLACE.model_copy(update={"host": "Abacus 3000"})
    assert idle.learn(session(monkeypatch, 0.04), elsewhere, tmp_path) == pytest.approx(0.04)


@pytest.mark.parametrize("left", ["", "{", '{"host": "here", "runtime": "onnxruntime_cpu", "ms": 0}'])
def test_what_is_damaged_is_measured_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: str) -> None:
    idle.learn(session(monkeypatch, 0.01), PLACE, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_text(left)
    assert idle.learn(session(monkeypatch, 0.02), PLACE, tmp_path) == pytest.approx(0.02)
    assert idle.learn(session(monkeypatch, 0.03), PLACE, tmp_path) == pytest.approx(0.02)
