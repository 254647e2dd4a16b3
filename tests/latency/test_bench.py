"""Real files on the real runtime; how long they take is not looked at, only how it is reported."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from whc import plugins, records
from whc.errors import ArtifactError
from whc.latency import bench as module
from whc.latency import reference
from whc.latency.bench import bench, session
from whc.latency.child import forward_pass
from whc.latency.host import host
from whc.latency.timing import REFERENCE_NAME, Protocol, Series
from whc.latency.watch import EMPTY_NAME, TWIN_NAME, ram_bytes
from whc.plugins import ChoiceOf
from whc.records import Latency, LatencySession
from whc.runtimes import suited

Bad = Callable[[str], Path]
RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
QUICK = Protocol(block_ms=0.2, warmup_ms=1, min_rounds=5, max_rounds=5)


def holds(latency: Latency) -> bool:
    """Every median in its interval, all in order."""
    return (
        0 < latency.low_ms <= latency.ms <= latency.high_ms
        and 0 < latency.ratio_low <= latency.ratio <= latency.ratio_high
        and 0 < latency.p50_low_ms <= latency.p50_ms <= latency.p50_high_ms
        and latency.p50_ms <= latency.p90_ms <= latency.p99_ms
    )


def test_latencies(good: Path) -> None:
    result = bench({"twin": good, "again": good}, RUNTIME, QUICK)
    assert list(result.latencies) == [REFERENCE_NAME, "twin", "again"]
    assert result.failed == {}
    assert result[REFERENCE_NAME].ratio == 1
    assert result[REFERENCE_NAME].ms == result.quiet_ms <= result[REFERENCE_NAME].p50_ms
    assert 0 < result.twin.low <= result.twin.value <= result.twin.high
    for latency in result.latencies.values():
        assert holds(latency)
        assert latency.ms == pytest.approx(latency.ratio * result[REFERENCE_NAME].ms)
        assert (latency.runtime, latency.threads, latency.host) == ("onnxruntime_cpu", 1, host())


def test_milliseconds_are_of_the_idle_reference(good: Path) -> None:
    result = bench({"twin": good}, RUNTIME, QUICK, reference_ms=7.0)
    assert (result[REFERENCE_NAME].ms, result[REFERENCE_NAME].low_ms, result[REFERENCE_NAME].high_ms) == (7, 7, 7)
    assert result[REFERENCE_NAME].p50_ms < 7
    assert result["twin"].ms == pytest.approx(7 * result["twin"].ratio)
    assert result["twin"].high_ms == pytest.approx(7 * result["twin"].ratio_high)


def test_nothing_but_the_reference() -> None:
    assert list(bench({}, RUNTIME, QUICK).latencies) == [REFERENCE_NAME]


def test_threads_are_told() -> None:
    runtime = ChoiceOf("runtimes").parse({"onnxruntime_cpu": {"threads": 2}})
    assert bench({}, runtime, QUICK)[REFERENCE_NAME].threads == 2


def test_a_file_that_cannot_be_timed(good: Path, bad: Bad) -> None:
    result = bench({"broken": bad("text"), "good": good}, RUNTIME, QUICK)
    assert holds(result["good"])
    assert result.failed.keys() == {"broken"}
    with pytest.raises(ArtifactError) as caught:
        result["broken"]
    assert str(caught.value) == result.failed["broken"]
    assert "\n" not in str(caught.value)


def blocks(
    monkeypatch: pytest.MonkeyPatch, spread: float, twin: float, interrupted: float = 0.0, empty: float | None = None
) -> None:
    """Sessions in which the reference takes 1 ms, its twin `twin` ms and `file` 2 ms, more or less."""
    rng = np.random.default_rng(0)

    def collect(*_: object) -> tuple[Series, dict[str, str]]:
        levels = {REFERENCE_NAME: 1.0, TWIN_NAME: twin, "0": 2.0, "1": 3.0}
        levels |= {} if empty is None else {f"{EMPTY_NAME}.onnx": empty}
        times = {name: level * np.exp(rng.normal(0, spread, (10, 10))) for name, level in levels.items()}
        return Series(times, {**dict.fromkeys(levels, 0.0), "1": interrupted}), {}

    monkeypatch.setattr(module, "collect", collect)


@pytest.mark.parametrize(
    ("spread", "twin", "noisy"),
    [(0.01, 1.0, False), (0.001, 1.015, False), (0.01, 1.1, True), (0.01, 0.9, True), (0.5, 1.0, True)],
)
def test_a_noisy_machine_is_told(monkeypatch: pytest.MonkeyPatch, spread: float, twin: float, noisy: bool) -> None:
    blocks(monkeypatch, spread, twin)
    result = session([Path("a.onnx"), Path("b.onnx")], RUNTIME, Protocol())
    assert result.noisy is noisy
    assert [file.latency.noisy for file in result.files] == [noisy, noisy]
    assert result.aa_low <= result.aa_ratio <= result.aa_high
    assert result.aa_ratio == pytest.approx(twin, rel=0.2)


def test_a_file_whose_core_others_held_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks(monkeypatch, 0.01, 1.0, interrupted=0.6)
    result = session([Path("a.onnx"), Path("b.onnx")], RUNTIME, Protocol())
    assert result.noisy
    assert [file.latency.noisy for file in result.files] == [False, True]


def test_ratios_are_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks(monkeypatch, 0.01, 1.0)
    first, second = session([Path("a.onnx"), Path("b.onnx")], RUNTIME, Protocol()).files
    assert (first.ratio_to_first, first.ratio_to_first_low, first.ratio_to_first_high) == (1, 1, 1)
    assert second.ratio_to_first == pytest.approx(1.5, rel=0.02)
    assert second.ratio_to_first_low < second.ratio_to_first < second.ratio_to_first_high


@pytest.mark.parametrize(("call_ms", "own_ms", "is_mostly_call"), [(0.4, 1.6, False), (1.2, 0.8, True), (3, 0, True)])
def test_what_a_call_costs(
    monkeypatch: pytest.MonkeyPatch, call_ms: float, own_ms: float, is_mostly_call: bool
) -> None:
    blocks(monkeypatch, 0.01, 1.0, empty=call_ms)
    (file,) = session([Path("a.onnx")], RUNTIME, Protocol(), reference_ms=1.0).files
    assert file.call_ms == pytest.approx(call_ms, rel=0.02)
    assert file.own_ms == pytest.approx(own_ms, abs=0.1)
    assert file.is_mostly_call is is_mostly_call
    blocks(monkeypatch, 0.01, 1.0)
    (file,) = session([Path("a.onnx")], RUNTIME, Protocol()).files
    assert (file.call_ms, file.own_ms, file.is_mostly_call, file.ram_bytes) == (None, None, False, None)


def test_each_kind_of_file_has_an_empty_one(good: Path, tmp_path: Path, write_litert: Callable[..., Path]) -> None:
    empty = reference.write_empty(tmp_path / "empty.tflite")
    images = np.arange(8, dtype=np.float32)[None]
    runtime = suited(empty, RUNTIME)
    loaded = plugins.load("runtimes", runtime.name).load(empty, runtime.config)
    np.testing.assert_array_equal(loaded.run(images), images)
    onnx_file, litert_file = session([good, write_litert(tmp_path / "net.tflite", {}, (6, 4))], RUNTIME, QUICK).files
    assert onnx_file.call_ms is not None
    assert litert_file.call_ms is not None
    assert onnx_file.call_ms != litert_file.call_ms
    assert litert_file.ram_bytes is not None


def test_memory_follows_what_a_network_needs(tmp_path: Path) -> None:
    """So many bytes of weights, within a tenth, whatever the process took before."""
    side = 2000
    weights = onnx.numpy_helper.from_array(np.ones((8, side * side // 4), np.float32), "weights")
    nodes = [onnx.helper.make_node("MatMul", ["images", "weights"], ["output"])]
    images, output = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, size))
        for name, size in (("images", 8), ("output", side * side // 4))
    )
    graph = onnx.helper.make_graph(nodes, "wide", [images], [output], [weights])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "wide.onnx")
    memory = ram_bytes(tmp_path / "wide.onnx", RUNTIME)
    assert memory is not None
    assert 0.9 < memory / (8 * side * side) < 4  # as read, and as laid out
    assert ram_bytes(tmp_path / "missing.onnx", RUNTIME) is None


def test_a_session_keeps_what_was_and_what_was_not_timed(good: Path, bad: Bad, tmp_path: Path) -> None:
    broken, missing = bad("text"), bad("missing")
    result = session([missing, good, broken, good], RUNTIME, QUICK)
    assert [file.path for file in result.files] == [str(good), str(good)]
    digest = hashlib.sha256(good.read_bytes()).hexdigest()
    assert {file.sha256 for file in result.files} == {digest}
    assert result.files[0].ratio_to_first == 1
    failed_files = [(file.path, file.sha256) for file in result.failed]
    assert failed_files == [(str(missing), ""), (str(broken), records.sha256(broken))]
    assert result.reference_ms > 0
    for file in result.files:  # beyond an empty network, which was run beside them
        assert file.call_ms is not None
        assert 0 < file.call_ms < file.latency.ms
        assert file.ram_bytes is not None
        assert 0 < file.ram_bytes < 2**25
    assert (result.runtime, result.threads, result.host) == ("onnxruntime_cpu", 1, host())
    records.save(result, tmp_path / "kept.json")
    assert records.load(LatencySession, tmp_path / "kept.json") == result


def test_the_input_is_the_same_for_everyone(good: Path) -> None:
    first, second = forward_pass(good, RUNTIME)(), forward_pass(good, RUNTIME)()
    assert (first == second).all()  # type: ignore[attr-defined]


def test_a_record_of_old_is_still_read() -> None:
    old = {"ms": 2.0, "low_ms": 1.9, "high_ms": 2.2, "p90_ms": 2.3, "p99_ms": 3.0, "ratio": 1.0}
    latency = Latency.model_validate({**old, "runtime": "onnxruntime_cpu", "threads": 1, "host": "here"})
    assert (latency.ratio_low, latency.ratio_high) == (0.95, 1.1)
    assert (latency.p50_ms, latency.noisy) == (2.0, False)
    assert Latency.model_validate_json(latency.model_dump_json()) == latency


def test_both_processes_stay_light(good: Path) -> None:
    """What runs on the device: neither side may need what only training has."""
    code = f"""
import json, sys
from pathlib import Path
import whc.latency.child
light = not {{"onnx", "torch", "ray", "pandas", "mlflow", "optuna", "cv2", "psutil"}} & set(sys.modules)
from whc.latency.bench import session
from whc.latency.timing import Protocol
from whc.plugins import ChoiceOf
quick = Protocol(block_ms=0.2, warmup_ms=1, min_rounds=5, max_rounds=5)
found = session([Path({str(good)!r})], ChoiceOf("runtimes").parse("onnxruntime_cpu"), quick)
heavy = {{"torch", "ray", "pandas", "mlflow", "optuna", "cv2"}} & set(sys.modules)
print(json.dumps([light, sorted(heavy), len(found.files)]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [True, [], 1]
