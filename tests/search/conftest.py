"""A small space, a study over it, and records of trials that never ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from whc.records import Latency, StudyRecord, TrialRecord
from whc.search import space
from whc.trials.config import TrialConfig

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
def study() -> StudyRecord:
    """Limits of 1 ms and 1 MB; the constant predictor scores 0.5."""
    return StudyRecord(
        study="hands",
        space_name="hands",
        space=RAW,
        data="dataset.parquet",
        data_fingerprint="f00d",
        recipe="tiny",
        trials=4,
        workers=1,
        runtime="onnxruntime_cpu",
        limits={"latency_ms": 1.0, "size_bytes": 1_000_000},
        seed=7,
        reference_ms=0.1,
        constant_f1=0.5,
        host="here",
        code_version="1",
    )


@pytest.fixture
def record() -> Callable[..., TrialRecord]:
    """Gives what a trial of a configuration left: `record(id, state, config, drawn, latency_ms=..., val_f1=...)`."""

    def build(
        trial_id: str,
        state: str,
        config: TrialConfig | None = None,
        drawn: dict[str, Any] | None = None,
        latency_ms: float | None = 0.5,
        val_f1: float | None = None,
    ) -> TrialRecord:
        config = config or TrialConfig()
        ms = latency_ms or 0.0
        latency = Latency(
            ms=ms,
            low_ms=0.9 * ms,
            high_ms=1.1 * ms,
            p90_ms=ms,
            p99_ms=ms,
            ratio=ms / 0.1,
            runtime="onnxruntime_cpu",
            threads=1,
            host="here",
        )
        return TrialRecord(
            trial_id=trial_id,
            study="hands",
            config=config.resolved(),
            config_hash=config.hash,
            drawn=drawn or {},
            state=state,
            reason="" if state == "finished" else f"it {state}",
            val_f1=val_f1,
            latency=latency if latency_ms else None,
            size_bytes=20_000,
            params=5_000,
            seed=config.training.seed,
            data_fingerprint="f00d",
            code_version="1",
        )

    return build
