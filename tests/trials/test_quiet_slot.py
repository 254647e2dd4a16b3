"""One network at a time, and none twice."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from whc.errors import ArtifactError
from whc.latency import reference
from whc.latency.timer import place_of
from whc.plugins import Choice, ChoiceOf
from whc.records import Latency
from whc.trials import quiet_slot
from whc.trials.config import TrialConfig
from whc.trials.quiet_slot import cache_key, measured

RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
TWO_THREADS = ChoiceOf("runtimes").parse({"onnxruntime_cpu": {"threads": 2}})
HERE = place_of(RUNTIME, None)
NO_YES = ("no", "yes")


def network(**model: object) -> TrialConfig:
    return TrialConfig.model_validate({"model": model})


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return reference.write(tmp_path / "trial.onnx")


def timing(noisy: bool = False) -> Latency:
    times = dict.fromkeys(("ms", "low_ms", "high_ms", "p90_ms", "p99_ms"), 0.02)
    return Latency(**times, ratio=1, runtime="onnxruntime_cpu", threads=1, host="here", noisy=noisy)


class Bench:
    """Stands in for the measurement, and counts."""

    def __init__(self, *noisy: bool) -> None:
        self.given: list[tuple[Any, ...]] = []
        self.noisy = [*noisy]

    def __call__(self, *given: Any) -> dict[str, Latency]:
        self.given.append(given)
        return {"trial": timing(self.noisy[min(len(self.given), len(self.noisy)) - 1] if self.noisy else False)}


def test_milliseconds_are_those_of_whoever_looks_it_up(artifact: Path, tmp_path: Path) -> None:
    first = measured("a network", lambda: artifact, RUNTIME, 0.02, tmp_path).latency
    second = measured("a network", lambda: pytest.fail("it was exported again"), RUNTIME, 0.03, tmp_path).latency
    assert (second.ratio, second.p50_ms) == (first.ratio, first.p50_ms)
    pairs = [(second.ms, first.ms), (second.low_ms, first.low_ms), (second.high_ms, first.high_ms)]
    assert [mine / theirs for mine, theirs in pairs] == pytest.approx([1.5, 1.5, 1.5])


def test_it_is_measured_and_then_looked_up(artifact: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    result = measured("a network", lambda: artifact, RUNTIME, 0.02, cache)
    first = result.latency
    assert 0 < first.low_ms <= first.ms <= first.high_ms
    assert first.ms == pytest.approx(0.02 * first.ratio)
    assert result.size_bytes == artifact.stat().st_size
    assert measured("a network", lambda: pytest.fail("it was exported again"), RUNTIME, 0.02, cache) == result


@pytest.mark.parametrize(
    ("config", "labels", "runtime", "same"),
    [
        (network(dropout=0.4), NO_YES, RUNTIME, True),
        (network(), ("dark", "bright"), RUNTIME, True),
        (TrialConfig.model_validate({"task": {"classification": {"threshold": 0.3}}}), NO_YES, RUNTIME, True),
        (network(width=48), NO_YES, RUNTIME, False),
        (network(), ("left", "right", "none"), RUNTIME, False),
        (network(), NO_YES, TWO_THREADS, False),
    ],
)
def test_what_size_and_latency_depend_on(
    config: TrialConfig, labels: tuple[str, ...], runtime: Choice, same: bool
) -> None:
    assert (cache_key(config, labels, place_of(runtime, None)) == cache_key(network(), NO_YES, HERE)) is same


def test_another_host_or_protocol_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    here = cache_key(network(), NO_YES, HERE)
    assert cache_key(network(), NO_YES, HERE.model_copy(update={"host": "Abacus 3000"})) != here
    monkeypatch.setattr(quiet_slot, "SLOT_PROTOCOL", quiet_slot.SLOT_PROTOCOL.model_copy(update={"block_ms": 9.0}))
    assert cache_key(network(), NO_YES, HERE) != here


@pytest.mark.parametrize(
    ("noisy", "measurements", "marked"), [([False], 1, False), ([True, False], 2, False), ([True, True], 2, True)]
)
def test_noise_is_measured_once_more_and_then_marked(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noisy: list[bool], measurements: int, marked: bool
) -> None:
    bench = Bench(*noisy)
    monkeypatch.setattr(quiet_slot, "bench", bench)
    result = measured("a network", lambda: artifact, RUNTIME, 0.02, tmp_path / "cache")
    assert result.latency.noisy is marked
    assert len(bench.given) == measurements
    assert bench.given[0] == ({"trial": artifact}, RUNTIME, quiet_slot.SLOT_PROTOCOL, 0.02, None)
    assert measured("a network", lambda: artifact, RUNTIME, 0.02, tmp_path / "cache") == result
    assert len(bench.given) == measurements


def test_a_file_that_cannot_be_timed_fails_its_trial_and_is_not_kept(tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("no network")
    with pytest.raises(ArtifactError, match="must be an ONNX file that ONNX Runtime can run"):
        measured("a network", lambda: text, RUNTIME, 0.02, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_one_at_a_time(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = SimpleNamespace(now=0, most=0)

    def slow(*_: object) -> dict[str, Latency]:
        inside.now += 1
        inside.most = max(inside.most, inside.now)
        time.sleep(0.05)
        inside.now -= 1
        return {"trial": timing()}

    monkeypatch.setattr(quiet_slot, "bench", slow)
    given = [(f"network {number}", lambda: artifact, RUNTIME, 0.02, tmp_path / "cache") for number in range(4)]
    threads = [threading.Thread(target=measured, args=arguments) for arguments in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside.most == 1
    assert len(list((tmp_path / "cache").iterdir())) == 4


CUDA = ChoiceOf("runtimes").parse("onnxruntime_cuda")
HOLDER = """
import sys
from filelock import ReadWriteLock
lock = ReadWriteLock(sys.argv[1])
with lock.read_lock() if sys.argv[2] == "training" else lock.write_lock():
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_process(work: str) -> Iterator[Any]:
    """It trains or times on the GPU until the given file, its standard input, is closed."""
    lock = quiet_slot._gpu_lock(CUDA)
    assert lock is not None
    command = [sys.executable, "-c", HOLDER, lock.lock_file, work]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process.stdin


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A GPU of a name that no other process has."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=tmp_path.parent.name))
    monkeypatch.setattr(quiet_slot.tempfile, "gettempdir", lambda: str(tmp_path))


@pytest.mark.usefixtures("gpu")
def test_a_timing_has_the_gpu_for_itself(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    monkeypatch.setattr(quiet_slot, "bench", bench)
    given = ("a network", lambda: artifact, CUDA, 0.02, tmp_path / "cache")
    with another_process("training") as training:
        timed = threading.Thread(target=measured, args=given)
        timed.start()
        timed.join(0.5)
        assert timed.is_alive()
        assert bench.given == []
        training.close()
        timed.join()
    assert len(bench.given) == 1


@pytest.mark.usefixtures("gpu")
def test_trainings_share_a_gpu_and_wait_for_its_timings() -> None:
    with another_process("training"), quiet_slot.training_turn(CUDA):
        pass  # or it would wait for ever
    entered = threading.Event()

    def train() -> None:
        with quiet_slot.training_turn(CUDA):
            entered.set()

    with another_process("timing") as timing_process:
        threading.Thread(target=train).start()
        assert not entered.wait(0.5)
        timing_process.close()
        assert entered.wait(60)


@pytest.mark.usefixtures("gpu")
def test_a_cpu_that_is_timed_stops_no_training() -> None:
    with another_process("timing"), quiet_slot.training_turn(RUNTIME):
        pass
