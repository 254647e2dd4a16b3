"""The loop learns what can be learnt, keeps its best epoch, and says so when it cannot."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from whc.data.dataset import SPLITS, Corpus
from whc.data.resampling import Resampling
from whc.errors import DataError
from whc.models.assemble import ModelConfig, build
from whc.records import CurvePoint
from whc.tasks import classification
from whc.training import loop
from whc.training.batches import Batches
from whc.training.loop import Fit, TrainingConfig, TrainingError, evaluate, fit, score

SIZE = (8, 8)
PLAIN = {"flip": 0, "affine": 0, "photometric": 0}


def corpus(rows: int = 64, positives: float = 0.5, frames: int = 1) -> Corpus:
    """Noise; positive pictures are bright, negative ones dark."""
    rng = np.random.default_rng(0)
    clip_ids = np.repeat(np.arange(3 * rows), frames)
    class_ids = (np.arange(3 * rows) % rows < positives * rows).astype(np.int64)[clip_ids]
    images = rng.integers(0, 120, (len(clip_ids), *SIZE, 3))
    images[class_ids == 1] += 120
    return Corpus(
        images={SIZE: images.astype(np.uint8)},
        class_ids=class_ids,
        splits=np.repeat(np.arange(len(SPLITS)), rows)[clip_ids],
        clips=clip_ids,
        groups=clip_ids,
        timestamps=np.tile(np.arange(frames), 3 * rows),
        labels=("dark", "bright"),
        frame_rate=None,
        fingerprint="f",
    )


def network(seed: int = 0, **changes: object) -> tuple[nn.Module, ModelConfig]:
    config = ModelConfig.model_validate({"width": 8, "depth": 1, "image_size": 8, "dropout": 0.1, **changes})
    torch.manual_seed(seed)
    return build(config, 1), config


def batches_of(data: Corpus, config: ModelConfig) -> Batches:
    return Batches(data, SIZE, config.frames, config.layout, torch.device("cpu"))


def training(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"epochs": 6, "batch_size": 8, "lr": 0.02, "augmentation": PLAIN, **changes})


def run(
    data: Corpus, config: TrainingConfig, task: ModuleType = classification, **changes: object
) -> tuple[nn.Module, Fit, list[CurvePoint]]:
    untrained, model = network(**changes)
    told: list[CurvePoint] = []
    return untrained, fit(untrained, batches_of(data, model), task, 0.5, config, told.append), told


@pytest.mark.parametrize("resampling", ["none", "weighted", "balanced"])
@pytest.mark.parametrize("positives", [0.5, 0.25])
def test_learns_what_is_easy(resampling: Resampling, positives: float) -> None:
    data = corpus(positives=positives)
    trained, found, told = run(data, training(resampling=resampling, augmentation=PLAIN | {"flip": 0.5}))
    assert found.val_f1 == 1.0
    assert found.curve == told
    assert [point.epoch for point in found.curve] == [1, 2, 3, 4, 5, 6]
    assert found.val_f1 == max(point.val_f1 for point in found.curve)
    trained.load_state_dict(found.weights)
    assert score(trained, batches_of(data, network()[1]), "test", classification, 0.5) > 0.9


@pytest.mark.parametrize("name", ["frame_stack", "lstm", "cnn3d"])
def test_learns_from_windows_of_frames(name: str) -> None:
    augmented = training(augmentation=PLAIN | {"flip": 0.5, "affine": 0.5, "photometric": 0.1}, epochs=10)
    _, found, _ = run(corpus(rows=24, frames=4), augmented, sequence={name: {"frames": 3}}, color="luma")
    assert found.val_f1 == 1.0


@pytest.mark.parametrize("name", ["none", "frame_stack", "lstm", "cnn3d"])
def test_augmentation_sees_stacked_frames_whatever_the_layout(name: str) -> None:
    _, model = network(sequence=name)
    source = batches_of(corpus(rows=4, frames=6), model)
    index = source.windows("val").index[:3]
    seen: list[torch.Size] = []

    def mirror(frames: torch.Tensor) -> torch.Tensor:
        seen.append(frames.shape)
        return frames.flip(-1)

    assert torch.equal(source.batch(index, mirror), source.batch(index).flip(-1))
    assert seen == [(3, 3 * model.frames, *SIZE)]
    assert source.batch(index).shape == (3, *model.input_shape)


def test_the_best_epoch_s_weights_are_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are dictated: the third epoch is best, and the fourth only equals it."""
    scores = iter([0.2, 0.1, 0.9, 0.9, 0.5])
    after_epoch: list[dict[str, torch.Tensor]] = []

    def dictated(trained: nn.Module, *args: object) -> float:
        after_epoch.append({name: tensor.clone() for name, tensor in trained.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(loop, "score", dictated)
    trained, found, _ = run(corpus(), training(epochs=5))
    assert (found.epoch, found.val_f1) == (3, 0.9)
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in after_epoch[2].items())
    assert not all(torch.equal(found.weights[name], tensor) for name, tensor in after_epoch[4].items())
    assert all(torch.equal(tensor, after_epoch[4][name]) for name, tensor in trained.state_dict().items())


def test_it_learns_in_training_mode_and_scores_in_evaluation_mode() -> None:
    untrained, model = network()
    modes: list[tuple[bool, bool]] = []
    untrained.register_forward_hook(lambda module, *_: modes.append((module.training, torch.is_grad_enabled())))
    fit(untrained, batches_of(corpus(rows=16), model), classification, 0.5, training(epochs=2), lambda point: None)
    learns, scores = (True, True), (False, False)
    assert modes == [learns, learns, scores] * 2


def test_the_seed_decides_the_curve_and_the_weights() -> None:
    noisy = corpus()
    rng = np.random.default_rng(1)
    noisy = replace(noisy, class_ids=np.where(rng.random(len(noisy.class_ids)) < 0.3, 1, noisy.class_ids))

    def outcome(seed: int) -> tuple[list[float], torch.Tensor]:
        _, found, _ = run(noisy, training(seed=seed, epochs=3, augmentation={}))
        return [point.val_f1 for point in found.curve], torch.cat([w.flatten() for w in found.weights.values()])

    (first, weights), (again, same_weights), (_, other_weights) = (outcome(seed) for seed in (1, 1, 2))
    assert first == again
    assert torch.equal(weights, same_weights)
    assert not torch.equal(weights, other_weights)


def test_a_loss_that_is_no_number_ends_it_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(logits: torch.Tensor, class_ids: torch.Tensor, positive_weight: float) -> torch.Tensor:
        return logits.sum() * float("nan")

    monkeypatch.setattr(classification, "loss", broken)
    with pytest.raises(TrainingError, match=r"^epoch 1: loss must be a number, .*; lower training\.lr$"):
        run(corpus(), training())


def test_whoever_listens_may_stop_it() -> None:
    def stop(point: CurvePoint) -> None:
        if point.epoch == 2:
            raise StopIteration

    untrained, model = network()
    with pytest.raises(StopIteration):
        fit(untrained, batches_of(corpus(), model), classification, 0.5, training(), stop)


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs", "warmup"),
    [
        (9, 2, 2, 0.25),  # an odd number of rows in pairs: none may be left alone with BatchNorm
        (33, 16, 1, 0.25),
        (16, 16, 4, 0.25),  # four steps, of which the warm-up is exactly one
        (16, 16, 2, 0.5),
        (16, 64, 1, 0.25),  # one step in all
        (2, 64, 1, 0.9),
    ],
)
@pytest.mark.parametrize("head", ["avg", "avgmax_mlp"])
def test_few_rows_and_few_steps(rows: int, batch_size: int, epochs: int, warmup: float, head: str) -> None:
    config = training(batch_size=batch_size, epochs=epochs, warmup=warmup)
    _, found, _ = run(corpus(rows=rows), config, head=head)
    assert len(found.curve) == epochs


@pytest.mark.parametrize("name", ["frame_stack", "lstm", "cnn3d"])
def test_batches_are_what_the_demo_feeds(name: str) -> None:
    from whc.data.preprocess import to_input

    data = corpus(rows=4, frames=3)
    _, model = network(sequence={name: {"frames": 2}})
    source = batches_of(data, model)
    index = source.windows("val").index
    batch = source.batch(index)
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch.numpy(), to_input(data.images[SIZE][index], name))


def test_evaluation_is_in_the_order_of_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "EVALUATION_BATCH", 5)
    data = corpus(rows=12)
    trained, model = network()
    source = batches_of(data, model)
    batches = list(evaluate(trained.train(), source, "val", classification))
    assert [len(batch) for batch in batches] == [5, 5, 2]
    assert not trained.training
    with torch.inference_mode():
        whole = classification.probabilities(trained(source.batch(source.windows("val").index))).numpy()
    np.testing.assert_allclose(np.concatenate(batches), whole, atol=1e-6)


def test_windows_longer_than_every_clip() -> None:
    with pytest.raises(DataError, match="clip of at least 4 frames"):
        run(corpus(rows=8, frames=2), training(), sequence="frame_stack")


@pytest.mark.parametrize(
    "changes", [{"epochs": 0}, {"batch_size": 1}, {"lr": 0}, {"warmup": 1}, {"resampling": "some"}, {"speed": 1}]
)
def test_configurations_that_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="TrainingConfig"):
        training(**changes)
