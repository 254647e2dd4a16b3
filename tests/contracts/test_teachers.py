"""A teacher of every task and every kind of network: what is learnt from it, and what it leaves alone."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from whc import plugins, tasks
from whc.data.dataset import UNLABELLED, Corpus
from whc.tasks import Task
from whc.training import checkpoint
from whc.training.loop import Trainer
from whc.training.teacher import OutputTeacher
from whc.trials.artifacts import to_checkpoint
from whc.trials.config import TrialConfig
from whc.trials.learning import trainer

ROWS, TRAIN = 64, 40
SIZES = [(16, 16), (24, 24)]
TASKS = plugins.names("tasks")
SEQUENCES: list[Any] = ["none", {"frame_stack": {"frames": 3}}, {"lstm": {"frames": 3}}, {"cnn3d": {"frames": 3}}]


def task_of(name: str) -> Task:
    return tasks.build(tasks.TASK_CHOICES.parse(name), None)


def head_of(name: str) -> str:
    heads = plugins.names("models.heads")
    gives = tasks.kind(name).head_gives
    return next(head for head in heads if gives == plugins.load("models.heads", head).GIVES)


def corpus_of(name: str, unlabelled: int = 0) -> Corpus:
    """Noise in clips of four, with the task's example labels, and some rows without."""
    kind = tasks.kind(name)
    columns = {key: list(itertools.islice(itertools.cycle(values), ROWS)) for key, values in kind.example_rows.items()}
    empty = dict.fromkeys(kind.label_readers().keys() - columns.keys())
    rows = pd.DataFrame(columns).assign(split="train", **empty)
    rng, numbers = np.random.default_rng(0), np.arange(ROWS)
    pictures = rng.integers(0, 255, (ROWS, 4, 4, 3), np.uint8)
    splits = np.where(numbers < TRAIN, 0, 1)
    splits[TRAIN - unlabelled : TRAIN] = UNLABELLED
    return Corpus(
        images={(side, side): pictures.repeat(side // 4, 1).repeat(side // 4, 2) for side, _ in SIZES},
        labelled=kind.read_rows(rows, kind.example_metadata, "rows"),
        needs_every_stratum=False,
        splits=splits,
        clips=numbers // 4,
        groups=numbers // 4,
        timestamps=numbers % 4,
        row_numbers=numbers,
        frame_rate=None,
        fingerprint="noise",
    )


def config_of(name: str, side: int = 16, sequence: Any = "none", **training: Any) -> TrialConfig:
    model = {"width": 4, "depth": 1, "image_size": side, "dropout": 0, "sequence": sequence}
    if sequence == "none" or "frame_stack" in sequence:
        model["head"] = head_of(name)
    learning = {"epochs": 1, "batch_size": 16, "lr": 0.01, **training}
    return TrialConfig.model_validate({"task": name, "model": model, "training": learning})


def taught(fitted: Trainer) -> dict[str, Tensor]:
    for _ in fitted.epochs():
        pass
    assert fitted.best is not None
    return fitted.best.weights


def write_teacher(config: TrialConfig, corpus: Corpus, path: Path) -> Path:
    fitted = trainer(config, corpus)
    taught(fitted)
    assert fitted.best is not None
    checkpoint.save(to_checkpoint(config, corpus, fitted.best), path)
    return path


def raw_outputs(network: nn.Module, seed: int) -> Tensor:
    with torch.no_grad():
        shape = network.eval()(torch.zeros(2, 3, 16, 16)).shape[1:]
    return 2 * torch.randn(8, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TASKS)
def test_a_student_that_answers_as_its_teacher_has_least_to_learn(name: str, seed: int) -> None:
    task, network = task_of(name), trainer(config_of(name), corpus_of(name)).network
    distance, decode = task.distillation(network), task.decoder(network)
    same, other = raw_outputs(network, seed), raw_outputs(network, seed + 100).requires_grad_()
    outputs = decode(same)
    near, far = distance(same, outputs), distance(other, outputs)
    assert far.shape == ()
    # A head that gives boxes is taught the best that are left after duplicates (`tests/models/test_distillation`).
    assert -1e-6 < near < (0.001 if task.head_gives == "numbers" else 0.6) * far
    assert distance(same + 0.05 * raw_outputs(network, seed + 200), outputs) > near
    (slope,) = torch.autograd.grad(far, other)
    assert torch.isfinite(slope).all()
    assert slope.any()


@pytest.mark.parametrize("name", TASKS)
def test_a_student_comes_to_answer_as_its_teacher(name: str) -> None:
    task, network = task_of(name), trainer(config_of(name), corpus_of(name)).network
    distance, decode = task.distillation(network), task.decoder(network)
    outputs, raw = decode(raw_outputs(network, 0)).detach(), raw_outputs(network, 1).requires_grad_()
    before = float(distance(raw, outputs).detach())
    optimizer = torch.optim.Adam([raw], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        distance(raw, outputs).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(distance(raw, outputs).detach()) < 0.2 * before


@pytest.mark.parametrize("name", TASKS)
def test_a_teacher_without_weight_changes_nothing(name: str, tmp_path: Path) -> None:
    """Neither do pictures without labels, where there is no teacher; with a weight both do."""
    corpus, more = corpus_of(name), corpus_of(name, unlabelled=16)
    teacher = write_teacher(config_of(name), corpus, tmp_path / "teacher.pt")
    plain, follower = config_of(name), config_of(name, teacher=str(teacher))
    weightless = follower.training.model_copy(update={"teacher_weight": 0.0})
    weights = taught(trainer(plain, corpus))
    same = taught(trainer(follower.model_copy(update={"training": weightless}), corpus))
    torch.testing.assert_close(same, weights, atol=1e-5, rtol=1e-4)
    assert any(not torch.equal(weights[key], value) for key, value in taught(trainer(follower, corpus)).items())
    first, second = (taught(trainer(config, more)) for config in (plain, follower))
    assert any(not torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("sequence", SEQUENCES, ids=str)
@pytest.mark.parametrize("side", [16, 24])
def test_both_see_the_same_windows(side: int, sequence: Any, tmp_path: Path) -> None:
    """Mirrored, turned and shifted alike, also those without labels, which come last and have no targets."""
    name = "classification"
    corpus = corpus_of(name, unlabelled=8)
    other = "none" if sequence == "none" else {"frame_stack": {"frames": 3}}
    teacher = write_teacher(config_of(name, side, other), corpus, tmp_path / "teacher.pt")
    fitted = trainer(config_of(name, 16, sequence, teacher=str(teacher)), corpus)
    assert isinstance(fitted._teacher, OutputTeacher)
    assert (fitted._teacher.batches is None) == (side == 16 and sequence in ("none", other))
    labelled, seen_rows = 0, 0
    for ours, parts, theirs in fitted._pictures(np.arange(fitted.images), 5, 6):
        labelled, seen_rows = labelled + len(parts), seen_rows + len(ours)
        assert len(ours) == len(theirs) > len(parts)
        in_order = ours.transpose(1, 2) if "cnn3d" in sequence else ours
        frames, seen = (pictures.reshape(-1, 3, *pictures.shape[-2:]) for pictures in (in_order, theirs))
        smaller = nn.functional.interpolate(seen, (16, 16), mode="bilinear", antialias=True)
        difference, unlike = (frames - smaller).abs().mean(), (frames - smaller.roll(1, 0)).abs().mean()
        assert difference < 0.35 * unlike
    assert labelled == fitted.images
    assert seen_rows > labelled
    assert fitted._unlabelled is not None
    epoch = next(fitted.epochs())
    assert len(epoch.train.outputs) == len(epoch.train.targets) == fitted.images
