"""Files with fixed sizes, and with any number of frames, go through parity and scoring like all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from whc.data.dataset import Corpus
from whc.data.windows import windows
from whc.export.parity import ParityLimits
from whc.plugins import ChoiceOf
from whc.training.checkpoint import Checkpoint
from whc.trials.artifacts import export, parity, predictions, restore, untrained
from whc.trials.config import TrialConfig

RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")


def saved(sequence: str, corpus: Corpus) -> Checkpoint:
    frames = {} if sequence == "none" else {"frames": 3}
    config = TrialConfig.model_validate(
        {"model": {"width": 4, "depth": 1, "image_size": 16, "sequence": {sequence: frames}}}
    )
    network = untrained(config, corpus.labels)
    with torch.no_grad():  # or all probabilities would be a half
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return Checkpoint(
        config=config.resolved(),
        weights=dict(network.state_dict()),
        labels=list(corpus.labels),
        frame_rate=corpus.frame_rate,
        data_fingerprint=corpus.fingerprint,
        code_version="test",
        epoch=1,
        val_score=0.5,
    )


@pytest.mark.parametrize(
    ("sequence", "options"),
    [
        ("none", {"static": True}),
        ("frame_stack", {"static": True}),
        ("lstm", {"static": True}),
        ("lstm", {"dynamic_sequence": True}),
        ("cnn3d", {"dynamic_sequence": True}),
    ],
)
def test_parity_and_predictions(tmp_path: Path, bright_corpus: Corpus, sequence: str, options: dict[str, bool]) -> None:
    origin = saved(sequence, bright_corpus)
    config, network = restore(origin, "c.pt")
    export(config, network, origin, tmp_path / "plain.onnx")
    export(config, network, origin, tmp_path / "other.onnx", ChoiceOf("export").parse({"onnx": options}))
    outcome, _ = parity(config, network, tmp_path / "other.onnx", bright_corpus, RUNTIME, ParityLimits())
    assert outcome.passed, str(outcome)
    assert outcome.rows == len(windows(bright_corpus, "val", config.model.frames).index)
    plain, other = (
        np.concatenate(list(predictions(tmp_path / name, bright_corpus, "test", RUNTIME)))
        for name in ("plain.onnx", "other.onnx")
    )
    assert plain.std() > 1e-4
    np.testing.assert_allclose(other, plain, rtol=0, atol=1e-6)
