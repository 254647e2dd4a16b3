"""The loop learns what can be learnt, keeps its best epoch, and says so when it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from whc.data.dataset import SPLIT_NAMES, Corpus
from whc.data.resampling import Resampling
from whc.data.row_labels import RowLabels
from whc.errors import DataError
from whc.models.assemble import ModelConfig, build
from whc.tasks.classification import Classification, Config, ConfusionCounts
from whc.tasks.parts import Parts
from whc.training import loop
from whc.training.batches import Batches
from whc.training.loop import Best, Trainer, TrainingConfig, TrainingError, evaluate

SIZE = (8, 8)
TASK = Classification(("dark", "bright"), Config())
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
        labelled=RowLabels(class_ids, ("dark", "bright"), class_ids, ("dark", "bright")),
        needs_every_stratum=True,
        splits=np.repeat(np.arange(len(SPLIT_NAMES)), rows)[clip_ids],
        clips=clip_ids,
        groups=clip_ids,
        timestamps=np.tile(np.arange(frames), 3 * rows),
        row_numbers=np.arange(3 * rows * frames),
        frame_rate=None,
        fingerprint="f",
    )


def relabelled(data: Corpus, class_ids: NDArray[np.int64]) -> Corpus:
    return replace(data, labelled=replace(data.labelled, targets=class_ids, strata=class_ids))


def network(seed: int = 0, **changes: object) -> tuple[nn.Module, ModelConfig]:
    config = ModelConfig.model_validate({"width": 8, "depth": 1, "image_size": 8, "dropout": 0.1, **changes})
    torch.manual_seed(seed)
    return build(config, 1), config


def batches_of(data: Corpus, config: ModelConfig) -> Batches:
    return Batches(data, SIZE, config.frames, config.layout, torch.device("cpu"))


def training(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"epochs": 6, "batch_size": 8, "lr": 0.02, "augmentation": PLAIN, **changes})


def trainer(data: Corpus, config: TrainingConfig, **changes: object) -> Trainer:
    untrained, model = network(**changes)
    return Trainer(untrained, batches_of(data, model), TASK, config)


def run(data: Corpus, config: TrainingConfig, **changes: object) -> tuple[Trainer, Best]:
    fitted = trainer(data, config, **changes)
    for _ in fitted.epochs():
        pass
    assert fitted.best is not None
    return fitted, fitted.best


def score(trained: nn.Module, batches: Batches, split: str) -> float:
    outputs = np.concatenate(list(evaluate(trained, batches, split, TASK)))
    return float(TASK.judge(outputs, batches.windows(split).targets).score())


@pytest.mark.parametrize("resampling", ["none", "weighted", "balanced"])
@pytest.mark.parametrize("positives", [0.5, 0.25])
def test_learns_what_is_easy(resampling: Resampling, positives: float) -> None:
    data = corpus(positives=positives)
    fitted = trainer(data, training(resampling=resampling, augmentation=PLAIN | {"flip": 0.5}))
    epochs = list(fitted.epochs())
    assert fitted.best is not None
    assert fitted.best.val_score == 1.0
    assert fitted.curve == [epoch.point for epoch in epochs]
    assert [point.epoch for point in fitted.curve] == [1, 2, 3, 4, 5, 6]
    assert fitted.best.val_score == max(point.val_score for point in fitted.curve)
    fitted.network.load_state_dict(fitted.best.weights)
    assert score(fitted.network, batches_of(data, network()[1]), "test") > 0.9


@pytest.mark.parametrize("name", ["frame_stack", "lstm", "cnn3d"])
def test_learns_from_windows_of_frames(name: str) -> None:
    augmented = training(augmentation=PLAIN | {"flip": 0.5, "affine": 0.5, "photometric": 0.1}, epochs=10)
    _, best = run(corpus(rows=24, frames=4), augmented, sequence={name: {"frames": 3}}, color="luma")
    assert best.val_score == 1.0


@pytest.mark.parametrize("name", ["none", "frame_stack", "lstm", "cnn3d"])
def test_augmentation_sees_stacked_frames_whatever_the_layout(name: str) -> None:
    _, model = network(sequence=name)
    source = batches_of(corpus(rows=4, frames=6), model)
    index = source.windows("val").index[:3]
    seen: list[torch.Size] = []

    def mirror(frames: torch.Tensor, *_: object) -> tuple[torch.Tensor, Parts]:
        seen.append(frames.shape)
        return frames.flip(-1), Parts.whole(np.zeros((len(frames), 2, 3), np.float32), SIZE)

    assert torch.equal(source.changed_batch(index, mirror)[0], source.batch(index).flip(-1))
    assert seen == [(3, 3 * model.frames, *SIZE)]
    assert source.batch(index).shape == (3, *model.input_shape)


def test_the_best_epoch_s_weights_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are dictated: the third epoch is best, and the fourth only equals it."""
    scores = iter([score for val_score in (0.2, 0.1, 0.9, 0.9, 0.5) for score in (1.0, val_score)])  # train, val
    monkeypatch.setattr(ConfusionCounts, "score", lambda *_: np.array(next(scores)))
    fitted = trainer(corpus(), training(epochs=5))
    after_epoch = [
        {name: tensor.clone() for name, tensor in fitted.scored.state_dict().items()} for _ in fitted.epochs()
    ]
    assert fitted.best is not None
    best, weights = fitted.best, fitted.best.weights
    assert (best.epoch, best.val_score) == (3, 0.9)
    assert all(torch.equal(weights[name], tensor) for name, tensor in after_epoch[2].items())
    assert not all(torch.equal(weights[name], tensor) for name, tensor in after_epoch[4].items())


def test_it_learns_in_training_mode_and_scores_in_evaluation_mode() -> None:
    fitted = trainer(corpus(rows=16), training(epochs=2, ema=0))
    modes: list[tuple[bool, bool]] = []
    fitted.network.register_forward_hook(lambda module, *_: modes.append((module.training, torch.is_grad_enabled())))
    list(fitted.epochs())
    learns, scores = (True, True), (False, False)
    assert modes == [learns, learns, scores] * 2


def test_the_seed_decides_the_curve_and_the_weights() -> None:
    noisy = corpus()
    rng = np.random.default_rng(1)
    noisy = relabelled(noisy, np.where(rng.random(len(noisy.targets)) < 0.3, 1, noisy.targets))

    def outcome(seed: int) -> tuple[list[float], torch.Tensor]:
        fitted, best = run(noisy, training(seed=seed, epochs=3, augmentation={}))
        return [point.val_score for point in fitted.curve], torch.cat([w.flatten() for w in best.weights.values()])

    (first, weights), (repeated, same_weights), (_, other_weights) = (outcome(seed) for seed in (1, 1, 2))
    assert first == repeated
    assert torch.equal(weights, same_weights)
    assert not torch.equal(weights, other_weights)


def test_a_loss_that_is_no_number_ends_it_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classification, "objective", lambda *_: lambda raw, _: raw.sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"^epoch 1: loss must be a number, .*; lower training\.lr$"):
        run(corpus(), training())


def test_an_epoch_tells_what_was_said_of_which_rows() -> None:
    fitted = trainer(corpus(positives=0.25), training(epochs=2, resampling="balanced"))
    seen: list[int] = []
    _, last = fitted.epochs(seen.append)
    assert fitted.images == len(last.train.targets) == 96
    assert sum(seen) == 2 * fitted.images
    assert last.train.targets.mean() == 0.5
    assert last.train_score == TASK.judge(last.train.outputs, last.train.targets).score()
    assert last.val_score == TASK.judge(last.val.outputs, last.val.targets).score()
    assert last.val_score == score(fitted.network, batches_of(corpus(positives=0.25), network()[1]), "val")
    assert set(last.scalars) >= {
        "epoch",
        "train_loss",
        "val_loss",
        "train_score",
        "val_score",
        "lr",
        "images_per_second",
    }
    assert last.seconds > 0


STATEFUL = [
    {"schedule": "one_cycle", "augmentation": {}, "resampling": "weighted"},
    {"schedule": "cosine", "ema": 0.9, "label_smoothing": 0.1},
    {"schedule": "plateau", "resampling": "balanced", "weight_decay": 0.1},
    {"precision": "bf16", "ema": 0.99},
]


@pytest.mark.parametrize("changes", STATEFUL)
@pytest.mark.parametrize("stop", [1, 3])
def test_resumed_equals_uninterrupted_bit_for_bit(stop: int, changes: dict[str, object], tmp_path: Path) -> None:
    if changes.get("precision") == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU has no fast bf16")
    rng = np.random.default_rng(1)
    data = corpus()
    # Labels that cannot be learnt by heart in an epoch, so that each epoch differs.
    data = relabelled(data, np.where(rng.random(len(data.targets)) < 0.3, 1, data.targets))
    config = training(epochs=5, **changes)
    whole = trainer(data, config, dropout=0.5)
    expected = [epoch.scalars for epoch in whole.epochs()]

    first = trainer(data, config, dropout=0.5)
    for epoch in first.epochs():
        if epoch.epoch == stop:
            torch.save(first.state(), tmp_path / "state.pt")  # on disk: nothing may live on in memory
            break
    torch.manual_seed(12345)
    second = trainer(data, config, seed=9, dropout=0.5)
    second.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    got = [epoch.scalars for epoch in second.epochs()]

    timing = {"seconds", "images_per_second"}
    kept = [{name: value for name, value in epoch.items() if name not in timing} for epoch in expected]
    assert [{name: value for name, value in epoch.items() if name not in timing} for epoch in got] == kept[stop:]
    assert whole.best is not None
    assert second.best is not None
    assert (second.best.epoch, second.best.val_score) == (whole.best.epoch, whole.best.val_score)
    for ours, theirs in ((second.best.weights, whole.best.weights), (flat(second.state()), flat(whole.state()))):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def flat(state: object, name: str = "") -> dict[str, torch.Tensor]:
    """Every tensor of a nested state, by its path."""
    if isinstance(state, torch.Tensor):
        return {name: state}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {key: tensor for part, value in items for key, tensor in flat(value, f"{name}.{part}").items()}


def test_the_average_is_scored_and_kept() -> None:
    fitted, best = run(corpus(), training(epochs=3, ema=0.9))
    assert fitted.scored is not fitted.network
    average, last = flat(fitted.scored.state_dict()), flat(fitted.network.state_dict())
    assert any(not torch.equal(average[name], last[name]) for name in last)
    assert best.weights.keys() == fitted.network.state_dict().keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp16"}, "training.precision: fp16 needs a GPU, got 'cpu'; use fp32 or bf16"),
    ],
)
def test_a_precision_that_the_device_lacks(changes: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        trainer(corpus(), training(**changes))
    assert str(caught.value) == message


def test_bf16_where_the_processor_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(TrainingError, match=r"training\.precision: bf16 must be supported here"):
        trainer(corpus(), training(precision="bf16"))


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
    made, _ = run(corpus(rows=rows), config, head=head)
    assert len(made.curve) == epochs


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
    batches = list(evaluate(trained.train(), source, "val", TASK))
    assert [len(batch) for batch in batches] == [5, 5, 2]
    assert not trained.training
    with torch.inference_mode():
        whole = TASK.decoded(trained(source.batch(source.windows("val").index))).numpy()
    np.testing.assert_allclose(np.concatenate(batches), whole, atol=1e-6)


def test_windows_longer_than_every_clip() -> None:
    with pytest.raises(DataError, match="clip of at least 4 frames"):
        run(corpus(rows=8, frames=2), training(), sequence="frame_stack")


REFUSED = [
    *({"epochs": 0}, {"batch_size": 1}, {"lr": 0}, {"warmup": 1}, {"ema": 1}, {"label_smoothing": 1}),
    *({"schedule": "steps"}, {"precision": "int8"}, {"resampling": "some"}, {"speed": 1}),
]


@pytest.mark.parametrize("changes", REFUSED)
def test_configurations_that_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="TrainingConfig"):
        training(**changes)
