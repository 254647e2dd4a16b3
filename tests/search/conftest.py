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
def study(make_study: Callable[..., StudyRecord]) -> StudyRecord:
    """Limits of 1 ms and 1 MB; the constant predictor scores 0.5."""
    limits = {"latency_ms": 1.0, "size_bytes": 1_000_000}
    return make_study(space=RAW, data_fingerprint="f00d", trials=4, limits=limits, seed=7, constant_f1=0.5)


@pytest.fixture
def record(make_trial: Callable[..., TrialRecord], make_latency: Callable[..., Latency]) -> Callable[..., TrialRecord]:
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
        return make_trial(
            trial_id=trial_id,
            config=config.resolved(),
            config_hash=config.hash,
            drawn=drawn or {},
            state=state,
            reason="" if state == "finished" else f"it {state}",
            val_f1=val_f1,
            latency=make_latency(latency_ms) if latency_ms else None,
            size_bytes=20_000,
            params=5_000,
            seed=config.training.seed,
        )

    return build
