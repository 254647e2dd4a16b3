"""Checkpoints run as their exported files do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from whc.data.dataset import Corpus
from whc.demo import model as models
from whc.demo.predict import predict
from whc.errors import ArtifactError
from whc.training import checkpoint
from whc.trials.artifacts import export, restore, to_checkpoint
from whc.trials.config import TrialConfig
from whc.trials.learning import trainer
from whc.trials.predict import load


def saved_by(config: TrialConfig, corpus: Corpus, folder: Path) -> Path:
    """A trained network's checkpoint, and beside it model.onnx."""
    training = trainer(config, corpus)
    next(training.epochs())
    assert training.best
    saved = to_checkpoint(config, corpus, training.best)
    checkpoint.save(saved, folder / "checkpoint.pt")
    export(*restore(saved, "checkpoint.pt"), saved, folder / "model.onnx")
    return folder / "checkpoint.pt"


@pytest.mark.parametrize("sequence", ["none", "lstm"])
def test_a_checkpoint_runs_as_its_file_does(
    tmp_path: Path, config: TrialConfig, bright_corpus: Corpus, sequence: str
) -> None:
    model = config.model.model_dump(mode="json") | {"sequence": sequence}
    config = TrialConfig.model_validate({**config.resolved(), "model": model})
    ours = load(saved_by(config, bright_corpus, tmp_path))
    theirs = models.load(tmp_path / "model.onnx")
    assert ours.metadata() == theirs.metadata
    windows = np.random.default_rng(0).integers(0, 256, (7, config.model.frames, 16, 16, 3), np.uint8)
    expected = theirs.outputs(windows)
    np.testing.assert_allclose(models.checked(ours).outputs(windows), expected, atol=1e-5)
    assert expected.std() > 0


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    for content in (None, b"", b"no checkpoint"):
        path = tmp_path / "model.pt"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ArtifactError, match=r"model\.pt: must be a") as caught:
            load(path)
        assert "\n" not in str(caught.value)


def test_checkpoints_of_the_original_projects_score_what_they_measured(shared: Path, tmp_path: Path) -> None:
    measured = json.loads((shared / "peer" / "trained.json").read_text())
    source = shared / "data" / "smile" / "dataset.parquet"
    for name in ("trained_baseline.pt", "trained_inverted_se.pt"):
        model = models.checked(load(shared / "peer" / name))
        summary = predict(model, source, tmp_path / "out.csv", split="test")
        assert summary.rows == 1578
        assert summary.scores["test"] == pytest.approx(measured[name]["test_f1"], abs=1e-4)


def test_every_checkpoint_of_the_original_projects_runs(shared: Path) -> None:
    paths = sorted((shared / "peer").glob("*.pt"))
    assert paths
    for path in paths:
        model = models.checked(load(path))
        about = model.metadata
        windows = np.random.default_rng(0).integers(0, 256, (3, about.frames, about.height, about.width, 3), np.uint8)
        assert model.outputs(windows).shape == (3,)
