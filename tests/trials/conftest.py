"""Trials small enough to run for real in a second or two."""

from __future__ import annotations

from pathlib import Path

import pytest

from whc.plugins import ChoiceOf
from whc.trials.config import TrialConfig
from whc.trials.run import Assignment, Limits


@pytest.fixture
def config() -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "model": {"width": 4, "depth": 1, "image_size": 16, "dropout": 0.0},
            "training": {"epochs": 6, "batch_size": 8, "lr": 0.02, "augmentation": {"photometric": 0}},
        }
    )


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    return Assignment(
        trial_id="00007",
        study="bright-1",
        folder=tmp_path / "trials" / "00007",
        limits=Limits(),
        runtime=ChoiceOf("runtimes").parse("onnxruntime_cpu"),
        reference_ms=0.02,
        cache=tmp_path / "cache",
        drawn={"model.width": 4},
    )
