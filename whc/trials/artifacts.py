"""Files that a trial leaves: its checkpoint, its exported file, and the check that both compute the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from whc import plugins, records
from whc.config import validate
from whc.data.dataset import Corpus
from whc.data.preprocess import RESIZE_MODE, to_input
from whc.data.windows import windows
from whc.errors import ArtifactError, UsageError, problem
from whc.export.parity import Parity, ParityLimits, compare
from whc.models.assemble import build, shapes
from whc.plugins import Choice, ChoiceOf
from whc.records import ModelMetadata
from whc.tasks import Outputs, Task
from whc.training import loop
from whc.training.batches import Batches
from whc.training.checkpoint import Checkpoint
from whc.training.memory import FLOAT_BYTES, training_bytes
from whc.trials.config import TrialConfig


def device() -> torch.device:
    """The device on which networks train: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def untrained(config: TrialConfig, labels: tuple[str, ...] | list[str]) -> nn.Module:
    """The network before training, with random weights from the configuration's seed."""
    torch.manual_seed(config.training.seed)
    return build(config.model, config.task_for(labels).outputs)


def batches_of(config: TrialConfig, corpus: Corpus, on: torch.device) -> Batches:
    """Batches of a corpus for a configuration."""
    model = config.model
    return Batches(corpus, model.image_size, model.frames, model.layout, on)


def check_labels(task: Task, name: str) -> None:
    """Raise UsageError if the labels of a data set do not fit the parameters of the task of this name."""
    if wrong := task.check_labels():
        next_step = "change the task's parameters, or the data"
        raise UsageError(problem(f"task.{name}", f"the labels {wrong}", list(task.labels), next_step))


def peak_memory_bytes(config: TrialConfig, outputs: int) -> int:
    """Peak memory of training a configuration, estimated from its shapes; without the data."""
    with torch.random.fork_rng(devices=[]):
        network = build(config.model, outputs)
    batch = (config.training.batch_size, *config.model.input_shape)
    scale = config.task_kind.decode_scale
    larger_bytes = round(scale**2 * FLOAT_BYTES * math.prod(batch)) if scale > 1 else 0  # of what is enlarged
    return training_bytes(network, batch, bool(config.training.ema), loop.EVALUATION_BATCH) + larger_bytes


def to_checkpoint(config: TrialConfig, corpus: Corpus, best: loop.Best, study: str = "", trial: str = "") -> Checkpoint:
    """The checkpoint of a trained network."""
    parameters = config.task.config.model_dump(mode="json") if best.task_parameters is None else best.task_parameters
    return Checkpoint(
        config=config.resolved() | {"task": {config.task.name: parameters}},
        weights=best.weights,
        labels=list(corpus.labels),
        frame_rate=corpus.frame_rate,
        data_fingerprint=corpus.fingerprint,
        code_version=records.code_version(),
        epoch=best.epoch,
        val_score=best.val_score,
        study=study,
        trial=trial,
        interpolation=corpus.interpolation,
        crop=corpus.crop,
    )


def misfit(config: TrialConfig, labels: Sequence[str], weights: Mapping[str, torch.Tensor]) -> str:
    """In words, the first weight that does not fit the network of a configuration; empty if all fit.

    Call it before building the network: a checkpoint may describe a network that is larger than memory.
    """
    expected = shapes(config.model, config.task_for(labels).outputs)
    for name, shape in expected.items():
        if name not in weights:
            return f"no {name}"
        if tuple(weights[name].shape) != shape:
            return f"{name} of {tuple(weights[name].shape)}, not {shape}"
    return next((f"{name} too" for name in weights if name not in expected), "")


def restore(saved: Checkpoint, source: str) -> tuple[TrialConfig, nn.Module]:
    """The network of a checkpoint.

    Raises:
        ArtifactError: the configuration cannot be built, or the weights are of another network.
    """
    try:
        config = validate(TrialConfig, saved.config, source)
    except UsageError as error:
        raise ArtifactError(str(error).splitlines()[0]) from error
    if wrong := misfit(config, saved.labels, saved.weights):
        raise ArtifactError(f"{source}: weights must fit the configuration, got: {wrong}; train it again")
    network = untrained(config, saved.labels)
    network.load_state_dict(saved.weights)
    return config, network.eval()


def export(
    config: TrialConfig,
    network: nn.Module,
    origin: Checkpoint,
    path: Path,
    artifact: Choice | None = None,
    calibration: NDArray[np.float32] | None = None,
) -> None:
    """Write a network as a file with all its metadata.

    Args:
        config: describes the network.
        network: the network.
        origin: where its weights came from.
        path: the file.
        artifact: the exporter with its parameters, by default `onnx`.
        calibration: inputs (K, ...) of the network, for exporters that need them.

    Raises:
        UsageError: this network does not allow the parameters, or the exporter is not installed.
        ArtifactError: the exporter does not support the parameters, or an operator of the network.
    """
    chosen = artifact or ChoiceOf("export").parse("onnx")
    exporter = plugins.load("export", chosen.name)  # its import takes a second, and training must not wait
    task, shape = config.task_for(origin.labels), config.model.input_shape
    exporter.export(network, task, path, describe(config, origin), shape, chosen.config, calibration)


def describe(config: TrialConfig, origin: Checkpoint) -> ModelMetadata:
    """The metadata of a network's exported file."""
    height, width = config.model.image_size
    return ModelMetadata(
        task=config.task.name,
        labels=origin.labels,
        task_config=config.task.config.model_dump(mode="json"),
        layout=config.model.layout,
        frames=config.model.frames,
        frame_rate=origin.frame_rate,
        height=height,
        width=width,
        resize=RESIZE_MODE,
        interpolation=origin.interpolation,
        crop=origin.crop,
        study=origin.study,
        trial=origin.trial,
        data_fingerprint=origin.data_fingerprint,
        code_version=origin.code_version,
    )


def predictions(artifact: Path, corpus: Corpus, split: str, runtime: Choice) -> Iterator[NDArray[np.float32]]:
    """Batches of an exported file's outputs over a split, computed as the demo computes them.

    Raises:
        ArtifactError: the file needs another interpolation than the images of `corpus` have.
    """
    session = plugins.load("runtimes", runtime.name).load(artifact, runtime.config)
    metadata = session.metadata()
    if metadata.interpolation != corpus.interpolation:
        rule = f"must want images resized by {corpus.interpolation!r}, as these were"
        raise ArtifactError(problem(str(artifact), rule, metadata.interpolation, "load the data in that way"))
    images = corpus.images[metadata.height, metadata.width]
    index = windows(corpus, split, metadata.frames).index
    for start in range(0, len(index), loop.EVALUATION_BATCH):
        yield session.run(to_input(images[index[start : start + loop.EVALUATION_BATCH]], metadata.layout))


def parity(
    config: TrialConfig, network: nn.Module, artifact: Path, corpus: Corpus, runtime: Choice, limits: ParityLimits
) -> tuple[Parity, Outputs]:
    """Compare an exported file with the network it came from, over the validation split; also gives its outputs."""
    network.cpu()
    task = config.task_for(corpus.labels)
    batches = batches_of(config, corpus, torch.device("cpu"))
    ours, theirs = loop.evaluate(network, batches, "val", task), predictions(artifact, corpus, "val", runtime)
    return compare(ours, theirs, batches.windows("val").targets, task, limits)
