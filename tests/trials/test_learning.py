"""Teachers: read, checked, shown the same pictures at their own size, followed, and left behind."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from whc.data.dataset import Corpus
from whc.data.row_labels import RowLabels
from whc.errors import ArtifactError
from whc.search.space import space
from whc.training import checkpoint
from whc.training.loop import Best, Trainer, TrainingConfig
from whc.training.teacher import FeatureTeacher, OutputTeacher
from whc.trials.artifacts import export, restore, to_checkpoint
from whc.trials.config import TrialConfig
from whc.trials.learning import check_teacher, image_sizes, trainer
from whc.trials.run import Assignment, run

SIZES = [(16, 16), (32, 32)]


@pytest.fixture(scope="module")
def boxes_corpus() -> Corpus:
    """48 dark pictures with a bright box each, in two sizes."""
    rng = np.random.default_rng(0)
    targets = np.full((48, 2, 5), -1, np.float32)
    pictures = np.full((48, 96, 96, 3), 50, np.uint8)
    for picture, rows in zip(pictures, targets, strict=True):
        x, y = rng.integers(0, 48, 2)
        picture[y : y + 36, x : x + 48] = rng.integers(150, 255, 3)
        rows[0] = (x + 24) / 96, (y + 18) / 96, 0.5, 0.375, 0
    numbers, ones = np.arange(48), np.ones(48, np.int64)
    return Corpus(
        images={
            (height, width): np.stack([cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in pictures])
            for height, width in SIZES
        },
        labelled=RowLabels(targets, ("person",), ones, ("no box", "1 box")),
        needs_every_stratum=False,
        splits=numbers // 16,
        clips=numbers,
        groups=numbers,
        timestamps=np.zeros(48, np.int64),
        row_numbers=numbers,
        frame_rate=None,
        fingerprint="boxes",
    )


def detector(size: str = "16", head: object = "aligned", **training: Any) -> TrialConfig:
    learning = {"epochs": 2, "batch_size": 8, "lr": 0.01, **training}
    model = {"backbone": "plain", "head": head, "width": 4, "depth": 2, "image_size": size, "dropout": 0}
    return TrialConfig.model_validate({"task": "detection", "model": model, "training": learning})


def trained(fitted: Trainer) -> Best:
    for _ in fitted.epochs():
        pass
    assert fitted.best is not None
    return fitted.best


@pytest.fixture(scope="module")
def large(boxes_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a detector for pictures of 32x32."""
    path, config = tmp_path_factory.mktemp("large") / "large.pt", detector("32", {"query": {"queries": 4}})
    checkpoint.save(to_checkpoint(config, boxes_corpus, trained(trainer(config, boxes_corpus))), path)
    return path


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a plain ViT's weights, of 12 channels in patches of 8x8."""
    torch.manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, 12)}
    layers = {"attn.qkv": (36, 12), "attn.proj": (12, 12), "mlp.fc1": (16, 12), "mlp.fc2": (12, 16)}
    sides = {"patch_embed.proj": (12, 3, 8, 8), **{f"blocks.0.{name}": shape for name, shape in layers.items()}}
    for name, shape in sides.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in ("norm", "blocks.0.norm1", "blocks.0.norm2"):
        shapes |= {f"{name}.weight": (12,), f"{name}.bias": (12,)}
    path = tmp_path_factory.mktemp("vit") / "vit.pt"
    torch.save({name: torch.randn(shape) for name, shape in shapes.items()}, path)
    return path


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(
    ("augmentation", "largest"),
    [
        ({"affine": 1.0, "rotation_degrees": 30}, 0.02),
        # Tiles and pasted objects begin at whole pixels, of each size.
        ({"mosaic": 0.5, "mixup": 0.3, "copy_paste": 0.5, "hsv": 0.5, "noise": 0.5, "noise_sigma": 0.001}, 0.05),
    ],
)
def test_the_teacher_sees_the_same_pictures_at_its_own_size(
    boxes_corpus: Corpus, large: Path, augmentation: dict[str, float], largest: float
) -> None:
    """In several groups of batches, each changed in the same way."""
    config = detector(teacher=str(large), augmentation=augmentation)
    assert image_sizes(config) == set(SIZES)
    fitted = trainer(config, boxes_corpus)
    assert isinstance(fitted._teacher, OutputTeacher)
    assert fitted._teacher.batches is not None
    fitted._steps = 5
    for ours, _, theirs in fitted._pictures(np.arange(fitted.images), 3):
        assert tuple(theirs.shape[2:]) == (32, 32)
        smaller = nn.functional.interpolate(theirs, (16, 16), mode="area")
        difference = (ours - smaller).abs()
        assert difference.mean() < largest
        other = (ours - smaller.roll(1, 0)).abs()
        assert other.mean() > 3 * difference.mean()


def test_a_teacher_of_the_same_size_sees_the_very_pictures(boxes_corpus: Corpus, tmp_path: Path) -> None:
    config = detector()
    checkpoint.save(to_checkpoint(config, boxes_corpus, trained(trainer(config, boxes_corpus))), tmp_path / "t.pt")
    fitted = trainer(detector(teacher=str(tmp_path / "t.pt")), boxes_corpus)
    assert all(ours is theirs for ours, _, theirs in fitted._pictures(np.arange(fitted.images), 0))


def test_only_the_network_in_training_changes(boxes_corpus: Corpus, large: Path) -> None:
    plain, taught = detector(ema=0.5), detector(ema=0.5, teacher=str(large))
    alone, fitted = trainer(plain, boxes_corpus), trainer(taught, boxes_corpus)
    first = weights(fitted.network)
    for name, tensor in weights(alone.network).items():
        assert torch.equal(tensor, first[name])  # a teacher does not change what it begins with
    assert isinstance(fitted._teacher, OutputTeacher)
    before = weights(fitted._teacher.network)
    kept = trained(fitted).weights
    after = weights(fitted._teacher.network)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert kept.keys() == trained(alone).weights.keys()
    ours, theirs = fitted.network.state_dict(), alone.network.state_dict()
    changed = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert len(changed) > len(ours) / 2


def test_the_box_gets_a_gradient_from_the_teacher_alone(boxes_corpus: Corpus, large: Path) -> None:
    fitted = trainer(detector(teacher=str(large), teacher_weight=3), boxes_corpus)
    assert fitted._teacher is not None
    images, _, seen = next(fitted._pictures(np.arange(fitted.images), 0))
    raw = fitted.network(images).detach().requires_grad_()
    fitted._teacher.loss(raw, seen).backward()
    assert raw.grad is not None
    assert all(raw.grad[:, channel].any() for channel in range(5))  # score, x, y, w, h


@pytest.mark.parametrize("kind", ["outputs", "features"])
def test_nothing_of_the_teacher_is_saved_or_exported(
    boxes_corpus: Corpus, large: Path, features: Path, tmp_path: Path, kind: str
) -> None:
    import onnx

    sizes = []
    for teacher in (None, str(large if kind == "outputs" else features)):
        config = detector(teacher=teacher, epochs=1)
        saved = to_checkpoint(config, boxes_corpus, trained(trainer(config, boxes_corpus)))
        checkpoint.save(saved, tmp_path / "c.pt")
        read = checkpoint.load(tmp_path / "c.pt")
        export(*restore(read, "c.pt"), read, tmp_path / "model.onnx")
        numbers = [np.prod(tensor.dims) for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer]
        sizes.append((sorted(read.weights), sum(numbers)))
    assert sizes[0] == sizes[1]


def test_features_are_followed_through_an_adapter(boxes_corpus: Corpus, features: Path, tmp_path: Path) -> None:
    """It is trained with the network, and an interrupted training goes on with it to the last bit."""
    config = detector(teacher=str(features), teacher_heads=2, teacher_weight=5, epochs=3)
    assert image_sizes(config) == {(16, 16)}
    whole, part, rest = (trainer(config, boxes_corpus) for _ in range(3))
    assert isinstance(whole._teacher, FeatureTeacher)
    adapter = whole._teacher.adapter
    assert isinstance(adapter, nn.Conv2d)
    assert adapter.weight.shape == (12, 4, 1, 1)
    before = weights(adapter)
    trained(whole)
    assert not torch.equal(adapter.weight, before["weight"])
    assert not torch.equal(adapter.bias, before["bias"])  # type: ignore[arg-type]
    next(part.epochs())
    torch.save(part.state(), tmp_path / "state.pt")
    rest.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    trained(rest)
    for name, tensor in rest.network.state_dict().items():
        assert torch.equal(tensor, whole.network.state_dict()[name])


def test_no_adapter_where_the_widths_agree(boxes_corpus: Corpus, features: Path) -> None:
    config = detector(teacher=str(features))
    wider = config.model_copy(update={"model": config.model.model_copy(update={"width": 12})})
    fitted = trainer(wider, boxes_corpus)
    assert isinstance(fitted._teacher, FeatureTeacher)
    assert isinstance(fitted._teacher.adapter, nn.Identity)


def test_features_come_closer(boxes_corpus: Corpus, features: Path) -> None:
    fitted = trainer(detector(teacher=str(features), teacher_weight=20, epochs=12), boxes_corpus)
    losses = [epoch.train_loss for epoch in fitted.epochs()]
    assert losses[-1] < losses[0]
    assert sum(later < earlier for earlier, later in pairwise(losses)) > 6


def test_any_task_learns_features(bright_corpus: Corpus, features: Path, config: TrialConfig) -> None:
    training = config.training.model_copy(update={"teacher": str(features)})
    best = trained(trainer(config.model_copy(update={"training": training}), bright_corpus))
    assert best.val_score > 0.9


def told(corpus: Corpus, config: TrialConfig) -> str:
    with pytest.raises(ArtifactError) as caught:
        trainer(config, corpus)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("training.teacher: ")
    return str(caught.value)


def test_files_that_are_no_teacher(boxes_corpus: Corpus, features: Path, tmp_path: Path) -> None:
    missing, other, broken = (tmp_path / name for name in ("missing.pt", "other.pt", "vit.pt"))
    assert f"{missing}: must be a readable checkpoint" in told(boxes_corpus, detector(teacher=str(missing)))
    torch.save({"weights": torch.ones(3)}, other)
    assert f"{other}: must be a checkpoint" in told(boxes_corpus, detector(teacher=str(other)))
    read = torch.load(features, weights_only=True)
    torch.save({name: tensor for name, tensor in read.items() if name != "cls_token"}, broken)
    assert f"{broken}: must be the weights of a plain ViT, got 'no cls_token'" in told(
        boxes_corpus, detector(teacher=str(broken))
    )
    torch.save(read | {"cls_token": "text"}, broken)
    assert f"{broken}: must be a checkpoint" in told(boxes_corpus, detector(teacher=str(broken)))
    torch.save(read | {"cls_token": torch.zeros(1).expand(1, 1, 10**9)}, broken)
    assert "weights of more bytes than the file has" in told(boxes_corpus, detector(teacher=str(broken)))
    heads = detector(teacher=str(features), teacher_heads=5)
    assert "no multiple of 4 and of 5 attention heads" in told(boxes_corpus, heads)


def test_teachers_that_do_not_suit(
    boxes_corpus: Corpus, bright_corpus: Corpus, large: Path, features: Path, config: TrialConfig, tmp_path: Path
) -> None:
    saved = checkpoint.load(large)
    other = tmp_path / "other.pt"
    checkpoint.save(replace(saved, labels=["dog"]), other)
    assert "must have the labels person, for the network in training, got 'dog'; choose another teacher" in told(
        boxes_corpus, detector(teacher=str(other))
    )
    classifier = config.model_copy(update={"training": config.training.model_copy(update={"teacher": str(large)})})
    assert "must have task classification, for the network in training, got 'detection'" in told(
        bright_corpus, classifier
    )
    stacked = detector("16")
    model = stacked.model.model_dump(mode="json") | {"sequence": {"frame_stack": {"frames": 2}}}
    whole = stacked.resolved() | {"model": model, "training": {"teacher": str(large)}}
    assert "must have 2 frames, for the network in training, got 1" in told(
        replace(boxes_corpus, clips=boxes_corpus.clips // 16, timestamps=boxes_corpus.clips),
        TrialConfig.model_validate(whole),
    )
    whole["training"] = {"teacher": str(features)}
    assert "must have pictures of one frame" in told(
        replace(boxes_corpus, clips=boxes_corpus.clips // 16, timestamps=boxes_corpus.clips),
        TrialConfig.model_validate(whole),
    )
    flat = detector("16x24", teacher=str(large))
    wide = {**boxes_corpus.images, (16, 24): boxes_corpus.images[16, 16].repeat(2, 2)[:, :, :24]}
    assert "must have pictures of the shape of 16x24 (or no training.augmentation.rotation_degrees), for" in told(
        replace(boxes_corpus, images=wide), flat
    )
    upright = flat.training.augmentation.model_copy(update={"rotation_degrees": 0})
    training = flat.training.model_copy(update={"augmentation": upright})
    trainer(flat.model_copy(update={"training": training}), replace(boxes_corpus, images=wide))
    patches = torch.load(features, weights_only=True) | {"patch_embed.proj.weight": torch.ones(12, 3, 17, 8)}
    torch.save(patches, other)
    assert "must have patches within 16x16 pixels, for the network in training, got '17x8'" in told(
        boxes_corpus, detector(teacher=str(other))
    )


def test_a_path_means_the_same_file_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = TrainingConfig.model_validate({"teacher": "large.pt"})
    assert config.teacher == str(tmp_path / "large.pt")
    assert config.model_dump()["teacher"] == str(tmp_path / "large.pt")
    assert not {"teacher", "teacher_weight", "teacher_heads"} & TrainingConfig().model_dump().keys()


def test_a_trial_of_a_search_learns_from_its_teacher(boxes_corpus: Corpus, large: Path, assignment: Assignment) -> None:
    """The teacher's size is decoded with the space's."""
    model = {"head": "aligned", "image_size": 16}
    tree = space.compile_space({"task": "detection", "model": model, "training": {"teacher": str(large)}}, "x.yaml")
    assert set(space.image_sizes(tree)) == set(SIZES)
    (training,) = space.teachings(tree)
    check_teacher(training, space.task_of(tree), ["person"])
    with pytest.raises(ArtifactError, match="must have the labels dog, for the network in training, got 'person'"):
        check_teacher(training, space.task_of(tree), ["dog"])
    with pytest.raises(ArtifactError, match="must have task classification"):
        check_teacher(training, space.task_of(space.compile_space({}, "x.yaml")), ["person"])
    config = detector(teacher=str(large))
    record = run(config, boxes_corpus, assignment, lambda point: None)
    assert (record.state, record.reason) == ("finished", "")
