"""How the candidates of a build are timed: here, on a device, or earlier."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from whc import records
from whc.errors import ArtifactError
from whc.factory import build, variants
from whc.factory.build import build_table
from whc.factory.opening import BuildRequest, open_study
from whc.latency.bench import session
from whc.latency.timer import TimingPlace
from whc.latency.timing import REFERENCE_NAME, Protocol, Series
from whc.latency.watch import TWIN_NAME
from whc.plugins import ChoiceOf
from whc.records import LatencySession, StudyRecord, TimerRecord


def test_what_cannot_be_timed_is_left_out_and_says_why(
    study: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, spoilt = build.session, []

    def torn(files: list[Path], *rest: object) -> LatencySession:
        if len(files) > 1:
            content = files[-1].read_bytes()
            spoilt.append(files[-1].stem)
            files[-1].write_text("torn")
            timed = real(files, *rest)  # type: ignore[arg-type]
            files[-1].write_bytes(content)
            (failed,) = timed.failed
            same = failed.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
            return timed.model_copy(update={"failed": [same]})
        return real(files, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "session", torn)
    table, _ = build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)
    for trial_id in spoilt:
        (reason,) = [row.reason for row in table.left_out if row.trial_id == trial_id]
        assert "must be an ONNX file that ONNX Runtime can run" in reason
        assert all(variant.trial_id != trial_id for variant in table.variants)


def test_a_noisy_timing_is_noted(study: Path, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = build.session

    def noisy(*given: object) -> LatencySession:
        timed = real(*given)  # type: ignore[arg-type]
        files = [
            file.model_copy(update={"latency": file.latency.model_copy(update={"noisy": True})}) for file in timed.files
        ]
        return timed.model_copy(update={"files": files, "noisy": True})

    monkeypatch.setattr(build, "session", noisy)
    table, _ = build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)
    assert table.noisy
    assert all(variants.NOISY_MACHINE in variant.notes for variant in table.variants)
    assert variants.NOISY_MACHINE in (study / "table.md").read_text()


def test_latencies_from_another_device(study: Path, recipe: str, tmp_path: Path) -> None:
    """The candidates' files, timed elsewhere, are joined by their hash."""
    build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)
    runtime = ChoiceOf("runtimes").parse("onnxruntime_cpu")
    files = sorted((study / "candidates").glob("*.onnx"))
    measured = session(files, runtime, Protocol(min_rounds=5, max_rounds=5), reference_ms=5.0)
    device_session = measured.model_copy(update={"host": "a device"})
    records.save(device_session, tmp_path / "device.json")
    table, _ = build_table(
        study, BuildRequest(recipe=recipe, latency_from=tmp_path / "device.json"), [], lambda _: None
    )
    assert table.host == "a device"
    assert {row.latency_ms for row in table.variants} <= {file.latency.ms for file in device_session.files}

    records.save(device_session.model_copy(update={"files": []}), tmp_path / "other.json")
    with pytest.raises(ArtifactError, match=r"other\.json: must hold latencies of this ladder's \d candidates, got"):
        build_table(study, BuildRequest(recipe=recipe, latency_from=tmp_path / "other.json"), [], lambda _: None)
    trial = table.variants[0].trial_id
    timed_files = [file for file in device_session.files if Path(file.path).name.startswith(trial)]
    records.save(measured.model_copy(update={"files": timed_files, "failed": []}), tmp_path / "some.json")
    device_table, _ = build_table(
        study, BuildRequest(recipe=recipe, latency_from=tmp_path / "some.json"), [], lambda _: None
    )
    assert len(device_table.variants) == 1
    missing = [row.reason for row in device_table.left_out if "holds no latency of" in row.reason]
    assert len(missing) == len(files) - 1


@dataclass(frozen=True)
class Device:
    """Times files by their size: the smaller, the slower; it goes away once."""

    tell: Callable[[str], None] = lambda _: None

    place = TimingPlace(host="Abacus 3000", runtime="openvino", threads=2, settings={"openvino": {"threads": 2}})

    def telling(self, on_wait: Callable[[str], None]) -> Device:
        return Device(on_wait)

    def collect(
        self, files: dict[str, Path], protocol: Protocol, ram_of: Collection[str] = ()
    ) -> tuple[Series, dict[str, str]]:
        self.tell("timer: must answer")
        self.tell("")
        rng = np.random.default_rng(0)
        levels = {REFERENCE_NAME: 1.0, TWIN_NAME: 1.0}
        levels |= {name: 1e5 / path.stat().st_size for name, path in files.items()}
        times = {name: level * np.exp(rng.normal(0, 0.001, (10, 10))) for name, level in levels.items()}
        return Series(times, dict.fromkeys(times, 0.0), {name: files[name].stat().st_size for name in ram_of}), {}


def test_the_order_of_the_ladder_is_that_of_the_device(study: Path, recipe: str) -> None:
    here, _ = build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)
    steps: list[str] = []
    there, _ = build_table(study, BuildRequest(recipe=recipe), [], steps.append, timer=Device())  # type: ignore[arg-type]
    assert (there.host, {row.runtime for row in there.variants}) == ("Abacus 3000", {"openvino"})
    assert here.host != there.host
    sizes = [row.size_bytes for row in there.variants]
    assert sizes == sorted(sizes, reverse=True)
    timed = {path.name.partition(".")[0].partition("-")[0]: path for path in (study / "candidates").glob("*.onnx")}
    assert [row.ram_bytes for row in there.variants] == [timed[row.trial_id].stat().st_size for row in there.variants]
    assert [row.latency_ms for row in there.variants] == sorted(row.latency_ms for row in there.variants)
    assert steps.index("timer: must answer") + 1 == steps.index("the timer is back")
    # What was timed on one is not taken for the other.
    again, _ = build_table(study, BuildRequest(recipe=recipe), [], lambda _: None)
    assert (again.host, {row.runtime for row in again.variants}) == (here.host, {"onnxruntime_cpu"})


def test_a_study_of_a_device_tells_when_it_is_timed_here(study: Path, recipe: str) -> None:
    about = StudyRecord.load(study)
    settings = Device.place.settings
    timer = TimerRecord(address="device:8700", runtime=settings)
    about.model_copy(update={"host": Device.place.host, "timer": timer}).save(study)
    steps: list[str] = []
    build_table(study, BuildRequest(recipe=recipe), [], steps.append)
    assert "on this machine: only --time-on does so on Abacus 3000, as the search did" in steps
    request = BuildRequest(recipe=recipe)
    assert open_study(study, request).reference_ms(about.chosen_runtime) is None
    assert open_study(study, request, Device()).reference_ms(about.chosen_runtime) == about.reference_ms  # type: ignore[arg-type]
