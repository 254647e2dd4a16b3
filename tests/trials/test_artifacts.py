"""Checkpoints back to networks, networks to files, and one preprocessing for trainer and demo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from whc.data.dataset import Corpus, load
from whc.data.preprocess import decode, resize, to_input
from whc.data.synthetic import render
from whc.errors import ArtifactError
from whc.export.parity import ParityLimits
from whc.plugins import ChoiceOf
from whc.records import ModelMetadata
from whc.runtimes import onnxruntime_cpu
from whc.training import checkpoint
from whc.training.loop import Best
from whc.trials.artifacts import batches_of, export, parity, predictions, restore, to_checkpoint
from whc.trials.config import TrialConfig
from whc.trials.learning import trainer

CPU = torch.device("cpu")
RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")


def train(config: TrialConfig, corpus: Corpus) -> tuple[nn.Module, Best]:
    """A network with the weights of its best epoch."""
    training = trainer(config, corpus)
    for _ in training.epochs():
        pass
    assert training.best is not None
    training.network.load_state_dict(training.best.weights)
    return training.network, training.best


def stacked(config: TrialConfig, **model: object) -> TrialConfig:
    changed = {**config.model.model_dump(mode="json"), "sequence": {"frame_stack": {"frames": 3}}, **model}
    return TrialConfig.model_validate({**config.resolved(), "model": changed})


@pytest.mark.parametrize(
    ("color", "sequence"), [("rgb", "frame_stack"), ("luma", "frame_stack"), ("lab", "lstm"), ("rgb", "cnn3d")]
)
def test_checkpoint_to_network_to_file(
    tmp_path: Path,
    config: TrialConfig,
    bright_corpus: Corpus,
    make_metadata: Callable[..., ModelMetadata],
    color: str,
    sequence: str,
) -> None:
    config = stacked(config, color=color, sequence={sequence: {"frames": 3}})
    network, fit = train(config, bright_corpus)
    saved = to_checkpoint(config, bright_corpus, fit, "bright-1", "00007")
    checkpoint.save(saved, tmp_path / "checkpoint.pt")
    restored_config, restored = restore(checkpoint.load(tmp_path / "checkpoint.pt"), "checkpoint.pt")
    assert restored_config.resolved() == config.resolved()
    export(restored_config, restored, saved, tmp_path / "model.onnx")
    outcome, _ = parity(config, network, tmp_path / "model.onnx", bright_corpus, RUNTIME, ParityLimits())
    assert outcome.passed
    assert outcome.rows == 6 * 2
    metadata = onnxruntime_cpu.load(tmp_path / "model.onnx", onnxruntime_cpu.Config()).metadata()
    answer = {"labels": ["dark", "bright"], "task_config": {"threshold": 0.5}}
    windows = {"layout": sequence, "frames": 3, "frame_rate": 10.0}
    pictures = {"height": 16, "width": 16, "resize": "stretch", "interpolation": "area"}
    origin = {"study": "bright-1", "trial": "00007", "data_fingerprint": "bright", "code_version": saved.code_version}
    assert metadata == make_metadata(task="classification", **answer, **windows, **pictures, **origin)


def test_parity_catches_a_file_of_another_network(tmp_path: Path, config: TrialConfig, bright_corpus: Corpus) -> None:
    network, fit = train(config, bright_corpus)
    saved = to_checkpoint(config, bright_corpus, fit)
    export(config, network, saved, tmp_path / "model.onnx")
    with torch.no_grad():
        next(network.parameters()).mul_(-1)
    assert not parity(config, network, tmp_path / "model.onnx", bright_corpus, RUNTIME, ParityLimits())[0].passed


def test_weights_of_another_network_are_refused(config: TrialConfig, bright_corpus: Corpus) -> None:
    _, fit = train(config, bright_corpus)
    saved = to_checkpoint(stacked(config), bright_corpus, fit)
    with pytest.raises(ArtifactError, match=r"^a\.pt: weights must fit the configuration"):
        restore(saved, "a.pt")


@pytest.mark.parametrize("interpolation", ["area", "bilinear_antialias"])
@pytest.mark.parametrize("sequence", ["none", "frame_stack", "lstm", "cnn3d"])
def test_trainer_and_demo_make_the_same_tensor_of_the_same_bytes(
    tmp_path: Path, config: TrialConfig, sequence: str, interpolation: str
) -> None:
    """The trainer's way: Parquet -> corpus -> batches_of; the demo's: decode, resize and to_input of the same files."""
    if sequence != "none":
        config = stacked(config, image_size=20, sequence={sequence: {"frames": 4}})
    size = config.model.image_size
    path = render(tmp_path, clips=12)
    corpus = load(path, [size], config.task_kind, interpolation=interpolation)
    batches = batches_of(config, corpus, CPU)
    index = batches.windows("val").index[:40]
    trained_on = batches.batch(index).numpy()

    import pyarrow.parquet as pq

    encoded = pq.read_table(path)["image_bytes"].to_pylist()
    pictures = np.stack([resize(decode(encoded[row]), *size, interpolation) for row in index.ravel()])  # type: ignore[arg-type]
    shown = to_input(pictures.reshape(*index.shape, *size, 3), config.model.layout)
    assert trained_on.dtype == shown.dtype == np.float32
    np.testing.assert_array_equal(trained_on, shown)
    assert cv2.imdecode(np.frombuffer(encoded[0], np.uint8), cv2.IMREAD_COLOR).shape == (48, 48, 3)


def test_predictions_follow_the_order_of_the_windows(
    tmp_path: Path, config: TrialConfig, bright_corpus: Corpus
) -> None:
    network, fit = train(config, bright_corpus)
    export(config, network, to_checkpoint(config, bright_corpus, fit), tmp_path / "model.onnx")
    probabilities = np.concatenate(list(predictions(tmp_path / "model.onnx", bright_corpus, "test", RUNTIME)))
    test = bright_corpus.targets[bright_corpus.splits == 2]
    assert ((probabilities > 0.5) == test).mean() > 0.9
