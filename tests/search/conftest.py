"""A small space, a study over it, a driver without workers, and what trials that never ran have left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from whc import records
from whc.records import CurvePoint, Latency, SearchObserver, StudyRecord, TrialRecord
from whc.search.running.driver import Driver
from whc.search.space import space
from whc.trials.config import TrialConfig
from whc.trials.dispatch import TrialJob

RAW: dict[str, Any] = {
    "model": {
        "backbone": {"baseline": {}, "inverted_se": {"expansion": [2, 4], "se_reduction": 0}},
        "head": ["avg", "avgmax_mlp"],
        "width": [4, 8],
        "depth": {"int": [2, 4], "step": 2},
        "image_size": [16, "24x16"],
    },
    "training": {"epochs": 2, "lr": {"float": [1e-3, 1e-2], "log": True}},
}


@pytest.fixture
def raw() -> dict[str, Any]:
    """The `space:` part of a search file."""
    return RAW


@pytest.fixture
def tree() -> space.Section:
    return space.compile_space(RAW, "space.yaml")


@pytest.fixture
def study(make_study: Callable[..., StudyRecord]) -> StudyRecord:
    """Limits of 1 ms and 1 MB; the constant predictor scores 0.5."""
    limits = {"latency_ms": 1.0, "size_bytes": 1_000_000}
    return make_study(space=RAW, data_fingerprint="f00d", trials=4, limits=limits, seed=7, floor=0.5)


@pytest.fixture
def record(make_trial: Callable[..., TrialRecord], make_latency: Callable[..., Latency]) -> Callable[..., TrialRecord]:
    """Gives what a trial of a configuration left: `record(id, state, config, drawn, latency_ms=..., val_score=...)`."""

    def build(
        trial_id: str,
        state: str,
        config: TrialConfig | None = None,
        drawn: dict[str, Any] | None = None,
        latency_ms: float | None = 0.5,
        val_score: float | None = None,
    ) -> TrialRecord:
        config = config or TrialConfig()
        return make_trial(
            trial_id=trial_id,
            config=config.resolved(),
            config_hash=config.hash,
            drawn=drawn or {},
            state=state,
            reason="" if state == "finished" else f"it {state}",
            val_score=val_score,
            latency=make_latency(latency_ms) if latency_ms else None,
            size_bytes=20_000,
            params=5_000,
            seed=config.training.seed,
        )

    return build


class Stub(SearchObserver):
    """An observer that notes its calls in a list shared by all observers."""

    def __init__(self, name: str, calls: list[tuple[str, ...]]) -> None:
        self.name, self.calls = name, calls

    def study_started(self, study: StudyRecord, earlier: Sequence[TrialRecord]) -> None:
        self.calls.append((self.name, "started", study.study, *(record.trial_id for record in earlier)))

    def trial_ended(self, record: TrialRecord) -> None:
        self.calls.append((self.name, record.state, record.trial_id))

    def study_ended(self, study: str, folder: Path) -> None:
        assert (folder / "trials.parquet").is_file()
        self.calls.append((self.name, "ended", study))


@pytest.fixture
def folder(tmp_path: Path, study: StudyRecord) -> Path:
    path = tmp_path / "runs" / "hands"
    study.save(path)
    return path


@pytest.fixture
def calls() -> list[tuple[str, ...]]:
    return []


@pytest.fixture
def begin(folder: Path, study: StudyRecord, tree: space.Section, calls: list[tuple[str, ...]]) -> Callable[[], Driver]:
    """Gives a started driver, with two observers; each call is a restart."""

    def made() -> Driver:
        driver = Driver(study, folder, tree, [Stub("first", calls), Stub("second", calls)])
        driver.start()
        return driver

    return made


@pytest.fixture
def begin_changed(
    folder: Path, study: StudyRecord, tree: space.Section, calls: list[tuple[str, ...]]
) -> Callable[..., Driver]:
    """Gives a started driver of a changed study: `begin_changed(minutes=10.0)`."""

    def made(**changes: Any) -> Driver:
        driver = Driver(study.model_copy(update=changes), folder, tree, [Stub("one", calls)])
        driver.start()
        return driver

    return made


Left = Callable[..., str]


def _of(job: TrialJob) -> dict[str, Any]:
    return {"config": job.config.resolved(), "config_hash": job.config.hash}


@pytest.fixture
def leave(folder: Path, record: Callable[..., TrialRecord]) -> Left:
    """Writes what a worker leaves of a job, and gives its id: `leave(job, state, latency_ms=..., val_score=...)`."""

    def left(job: TrialJob, state: str = "finished", **numbers: float) -> str:
        assignment = job.assignment
        made = record(assignment.trial_id, state, drawn=assignment.drawn, **numbers)
        records.save(made.model_copy(update=_of(job)), assignment.folder / "record.json")
        assert assignment.folder == folder / "trials" / assignment.trial_id
        return str(assignment.trial_id)

    return left


@pytest.fixture
def finish(record: Callable[..., TrialRecord]) -> Left:
    """The same of a job that has trained to its end."""

    def left(job: TrialJob, val_score: float) -> str:
        assignment = job.assignment
        made = record(assignment.trial_id, "finished", drawn=assignment.drawn, val_score=val_score)
        curve = [CurvePoint(epoch=epoch, val_score=val_score, seconds=1.0) for epoch in (1, 2)]
        records.save(made.model_copy(update={**_of(job), "curve": curve}), assignment.folder / "record.json")
        return str(assignment.trial_id)

    return left
