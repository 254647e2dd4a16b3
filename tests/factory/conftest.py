"""A study with real trials, searched without Ray: the factory only sees what is on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from whc import records
from whc.data.dataset import load
from whc.data.synthetic import render
from whc.latency.host import host
from whc.plugins import ChoiceOf
from whc.records import StudyRecord
from whc.tasks.classification import Classification
from whc.trials.config import TrialConfig
from whc.trials.run import Assignment, Limits, run

NETWORKS = [
    {"width": 4, "depth": 1, "sequence": {"frame_stack": {"frames": 2}}},
    {"width": 8, "depth": 2, "sequence": {"frame_stack": {"frames": 4}}},
    {"width": 16, "depth": 2, "color": "luma", "sequence": {"frame_stack": {"frames": 6}}},
]


@pytest.fixture(scope="package")
def searched(tmp_path_factory: pytest.TempPathFactory, make_study: Callable[..., StudyRecord]) -> Path:
    """A folder of runs with one study of three trained trials."""
    runs = tmp_path_factory.mktemp("runs")
    data = render(runs / "synth", clips=40)
    corpus = load(data, [(16, 16)], Classification)
    runtime = ChoiceOf("runtimes").parse("onnxruntime_cpu")
    for number, network in enumerate(NETWORKS):
        config = TrialConfig.model_validate(
            {
                "model": {**network, "image_size": 16, "dropout": 0.0},
                "training": {"epochs": 6, "batch_size": 16, "lr": 0.01, "augmentation": {"affine": 0}},
            }
        )
        trial_id = f"{number:05d}"
        folder = runs / "wave-1" / "trials" / trial_id
        limits = Limits()
        job = Assignment(trial_id, "wave-1", folder, limits, runtime, 0.02, runs / ".latency", {})
        record = run(config, corpus, job, lambda _: None)
        # Timed as written, so that who is on the front does not hang on the machine's mood.
        assert record.latency is not None
        latency = record.latency.model_copy(update={"ms": 0.02 * (number + 1)})
        records.save(record.model_copy(update={"latency": latency}), folder / "record.json")
    make_study(
        study="wave-1",
        space_name="wave",
        space={"model": {"image_size": 16}},
        data=str(data),
        data_fingerprint=corpus.fingerprint,
        trials=3,
        reference_ms=0.02,
        host=host(),
    ).save(runs / "wave-1")
    return runs
