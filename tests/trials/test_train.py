"""Training in a folder of its own: what it leaves, how it goes on, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from whc.config import load_yaml
from whc.data.dataset import Corpus
from whc.errors import ArtifactError, UsageError
from whc.tasks import Loss
from whc.tasks.classification import Classification, ConfusionCounts
from whc.training import checkpoint
from whc.training.loop import Epoch, TrainingError
from whc.trials import train
from whc.trials.config import TrialConfig
from whc.trials.train import CHECKPOINTS, Start, begin, resume, train_and_save


class Watcher:
    """Remembers what it was told, and stops the training after an epoch if asked to."""

    def __init__(self, stop_after: int = 0) -> None:
        self.told: list[tuple[int, int, int]] = []
        self.images, self.epochs, self.stop_after = 0, [], stop_after  # type: ignore[var-annotated]

    def started(self, epochs: int, of_epochs: int, images: int) -> None:
        self.told.append((epochs, of_epochs, images))

    def trained(self, images: int) -> None:
        self.images += images

    def epoch_ended(self, epoch: Epoch) -> None:
        self.epochs.append(epoch.epoch)
        if epoch.epoch == self.stop_after:
            raise KeyboardInterrupt


def do(start: Start, corpus: Corpus, out: Path, stop_after: int = 0, draw_every: int | None = None) -> dict[str, Any]:
    return train_and_save(start, corpus, out, draw_every, Watcher(stop_after)).summary


@pytest.fixture
def noisy(bright_corpus: Corpus) -> Corpus:
    """Labels that no epoch learns by heart, so that epochs differ."""
    class_ids = bright_corpus.targets.copy()
    class_ids[::5] = 1 - class_ids[::5]
    return relabelled(bright_corpus, class_ids)


def relabelled(corpus: Corpus, class_ids: NDArray[np.int64]) -> Corpus:
    return replace(corpus, labelled=replace(corpus.labelled, targets=class_ids, strata=class_ids))


def test_what_a_run_leaves(tmp_path: Path, config: TrialConfig, bright_corpus: Corpus) -> None:
    out, watcher = tmp_path / "out", Watcher()
    trained = train_and_save(Start(config), bright_corpus, out, 3, watcher)
    summary = trained.summary
    assert sorted(trained.test_outputs) == list(range(72, 96))
    assert summary["metric"]["key"] == "f1"
    assert summary["score"] > 0.9
    assert summary["score_when_tuned"] > 0.9
    assert summary["tuned"].keys() == {"threshold"}
    assert summary["details"]["accuracy"] > 0.9
    assert np.sum(summary["details"]["confusion"]) == 24
    assert summary["floor"] == 2 / 3
    assert summary["remark"] == ""
    assert json.loads((out / "summary.json").read_text()) == summary
    assert TrialConfig.model_validate(load_yaml(out / "config.yaml")) == config
    assert checkpoint.load(Path(summary["checkpoint"])).epoch == summary["epoch"]

    epochs = config.training.epochs
    assert watcher.epochs == [*range(1, epochs + 1)]
    assert watcher.told == [(0, epochs, watcher.images // epochs)]
    history = json.loads((out / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == watcher.epochs
    assert max(entry["val_score"] for entry in history) == summary["val_score"]
    log = (out / "train.log").read_text()
    assert all(f"epoch {number}: train loss" in log for number in watcher.epochs)
    assert sum(len(path.read_bytes()) for path in (out / "tensorboard").iterdir()) > 1000

    pictures = {f"{split}_epoch_{epoch:04}.png" for split in ("train", "val") for epoch in (3, 6)} | {"test.png"}
    assert {path.name for path in (out / "diagnostics").iterdir()} == pictures
    assert all(cv2.imread(str(out / "diagnostics" / name)).std() > 10 for name in pictures)


def test_a_run_that_has_learnt_nothing_says_so_and_why(
    tmp_path: Path, config: TrialConfig, bright_corpus: Corpus
) -> None:
    wild = config.training.model_copy(update={"epochs": 1, "lr": 1.0})
    grey = {size: np.full_like(images, 128) for size, images in bright_corpus.images.items()}
    blind = replace(bright_corpus, images=grey)  # nothing to tell the classes apart by
    summary = do(Start(config.model_copy(update={"training": wild})), blind, tmp_path / "a")
    assert summary["val_score"] <= 2 / 3
    begins, _, reasons = summary["remark"].partition("; likely because ")
    assert begins.startswith(f"nothing was learnt: validation F1 {summary['val_score']:.4f} is not above 0.6667, what ")
    assert reasons == (
        "1 epoch is few (--set training.epochs=20), or a learning rate of 1 is high (--set training.lr=0.005), "
        "or the labels do not go with the pictures (whc data info FILE)"
    )


@pytest.mark.parametrize(
    ("training", "rare", "told"),
    [
        ({"epochs": 20, "lr": 5e-3}, False, "the labels do not go with the pictures (whc data info FILE)"),
        ({"epochs": 3}, False, "3 epochs are few (--set training.epochs=20), or the labels"),
        (
            {"epochs": 20, "lr": 5e-3},
            True,
            "only 8.3% of the training rows are 'bright' (--set training.resampling=balanced), or the labels",
        ),
        ({"epochs": 20, "lr": 5e-3, "resampling": "balanced"}, True, "the labels"),
    ],
)
def test_likely_reasons(training: dict[str, Any], rare: bool, told: str, bright_corpus: Corpus) -> None:
    class_ids = bright_corpus.targets.copy()
    if rare:
        class_ids[4 : np.flatnonzero(bright_corpus.splits == 0)[-1] + 1 - 8] = 0
        class_ids[np.flatnonzero(bright_corpus.splits == 0)[-8:]] = [0, 0, 0, 0, 1, 1, 1, 1]
    corpus = relabelled(bright_corpus, class_ids)
    config = TrialConfig.model_validate({"training": training})
    assert train._floor_remark(config, corpus, 0.7, 0.6) == ""
    for val_score in (0.6, 0.0):
        assert train._floor_remark(config, corpus, val_score, 0.6).partition("; likely because ")[2].startswith(told)


@pytest.mark.parametrize("name", ["frame_stack", "lstm", "cnn3d"])
def test_a_network_that_sees_scenes_is_told_of_differences(name: str, bright_corpus: Corpus) -> None:
    def reasons(**sequence: object) -> str:
        config = TrialConfig.model_validate({"model": {"sequence": {name: sequence}}})
        return train._floor_remark(config, bright_corpus, 0.6, 0.6)

    advice = f"the scene can be learnt by heart, in place of the motion (--set model.sequence.{name}.differences=true)"
    assert advice in reasons()
    assert "differences" not in reasons(differences=True)


def test_without_a_test_split_nothing_is_scored_on_test(
    tmp_path: Path, config: TrialConfig, bright_corpus: Corpus
) -> None:
    whole = do(Start(config), bright_corpus, tmp_path / "whole")
    splits = np.where(bright_corpus.splits == 2, 0, bright_corpus.splits)
    summary = do(Start(config), replace(bright_corpus, splits=splits), tmp_path / "out", draw_every=0)
    test = ("score", "details", "score_when_tuned", "floor")
    assert [summary[name] for name in test] == [None] * 4
    assert (whole["test_split"], summary["test_split"]) == (True, False)
    assert whole.keys() == summary.keys()
    assert summary["val_score"] > 0.9
    assert summary["val_floor"] == 2 / 3
    assert summary["tuned"] is not None
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert not any(path.name.startswith("test") for path in (tmp_path / "out" / "diagnostics").iterdir())
    assert Classification.metric.untested in (tmp_path / "out" / "train.log").read_text()


def test_no_pictures_when_they_are_off(tmp_path: Path, config: TrialConfig, bright_corpus: Corpus) -> None:
    do(Start(config), bright_corpus, tmp_path)
    assert not (tmp_path / "diagnostics").exists()


def test_the_latest_and_the_best_checkpoints_are_kept(
    tmp_path: Path, config: TrialConfig, noisy: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores are dictated: epochs 2 and 4 are the best of 7, two of each kind are kept."""
    monkeypatch.setattr(train, "KEPT_CHECKPOINTS", 2)
    scores = iter([score for val_score in (0.1, 0.9, 0.2, 0.8, 0.3, 0.4, 0.5) for score in (1.0, val_score)])
    true_score = ConfusionCounts.score
    monkeypatch.setattr(ConfusionCounts, "score", lambda counts: next(scores, None) or true_score(counts))
    longer = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 7})})
    assert do(Start(longer), noisy, tmp_path)["epoch"] == 2
    assert [path.name for path in sorted((tmp_path / CHECKPOINTS).iterdir())] == [
        f"epoch_{number:05}.pt" for number in (2, 4, 6, 7)
    ]


@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_resumed_run_ends_as_one_that_never_stopped(
    tmp_path: Path, config: TrialConfig, noisy: Corpus, stop_after: int
) -> None:
    whole = do(Start(config), noisy, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        do(Start(config), noisy, tmp_path / "out", stop_after)
    assert not (tmp_path / "out" / "summary.json").exists()
    resumed = do(resume({}, "", tmp_path / "out"), noisy, tmp_path / "out")

    def lasting(summary: dict[str, Any]) -> dict[str, Any]:
        curve = [{**point, "seconds": 0} for point in summary["curve"]]
        return {**summary, "curve": curve, "checkpoint": ""}

    assert lasting(resumed) == lasting(whole)
    ours, theirs = (checkpoint.load(tmp_path / name / "checkpoint.pt").weights for name in ("out", "whole"))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    history = json.loads((tmp_path / "out" / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [*range(1, config.training.epochs + 1)]


def test_a_run_that_is_over_can_be_asked_again(tmp_path: Path, config: TrialConfig, noisy: Corpus) -> None:
    summary = do(Start(config), noisy, tmp_path)
    assert do(resume(config.resolved(), "config.yaml", tmp_path), noisy, tmp_path) == summary


def test_weights_to_start_from(tmp_path: Path, config: TrialConfig, bright_corpus: Corpus) -> None:
    first = do(Start(config), bright_corpus, tmp_path / "first")
    start = begin({"training": {"epochs": 1, "lr": 1e-9}}, "--set", tmp_path / "second", Path(first["checkpoint"]))
    assert start.config.model == config.model
    second = do(start, bright_corpus, tmp_path / "second")
    assert second["init"] == first["checkpoint"]
    ours, theirs = (checkpoint.load(Path(summary["checkpoint"])).weights for summary in (second, first))
    for name, tensor in theirs.items():
        if name.endswith("weight"):
            torch.testing.assert_close(ours[name], tensor, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["inverted_se_avg_lab", "sequence_lstm_len4", "convnext_transformer_grid2x2"])
def test_an_original_s_weights_to_start_from(name: str, shared: Path, tmp_path: Path) -> None:
    start = begin({}, "--set", tmp_path, shared / "peer" / f"{name}.pt")
    assert start.interpolation == "bilinear_antialias"
    assert start.weights is not None


@pytest.mark.parametrize("change", [{"width": 8}, {"head": "avgmax_mlp"}])
def test_weights_of_another_network(
    tmp_path: Path, config: TrialConfig, bright_corpus: Corpus, change: dict[str, object]
) -> None:
    path = do(Start(config), bright_corpus, tmp_path / "first")["checkpoint"]
    start = begin({"model": change}, "--set", tmp_path / "second", Path(path))
    with pytest.raises(
        UsageError, match=f"^{path}: weights must fit model and labels, got .*; leave model out"
    ) as told:
        do(start, bright_corpus, tmp_path / "second")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "second" / "config.yaml").exists()


def test_a_loss_that_is_no_number_names_the_last_good_checkpoint(
    tmp_path: Path, config: TrialConfig, noisy: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_objective, spoilt = Classification.objective, torch.tensor(1.0)

    def objective(*given: Any) -> Loss:
        loss = true_objective(*given)
        return lambda raw, targets: loss(raw, targets) * spoilt

    class Spoiler(Watcher):
        def epoch_ended(self, epoch: Epoch) -> None:
            if epoch.epoch == 2:
                spoilt.fill_(torch.nan)

    monkeypatch.setattr(Classification, "objective", objective)

    told = r"^epoch 3: loss must be a number, got nan; .*; the last good checkpoint is .*/epoch_00002\.pt$"
    with pytest.raises(TrainingError, match=told):
        train_and_save(Start(config), noisy, tmp_path, None, Spoiler())
    assert checkpoint.load(tmp_path / CHECKPOINTS / "epoch_00002.pt").epoch == 2


def test_runs_that_cannot_go_on(tmp_path: Path, config: TrialConfig, noisy: Corpus) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=r"--resume: --out must hold an interrupted run"):
        resume({}, "", out)
    with pytest.raises(KeyboardInterrupt):
        do(Start(config), noisy, out, 2)
    with pytest.raises(UsageError, match=r"--out: must be a folder without a training run, .*; go on with --resume"):
        begin({}, "--set", out, None)
    changed = config.resolved()
    changed["training"]["lr"] = 0.5
    with pytest.raises(UsageError, match=r"--resume: training\.lr must be 0\.02 as in the run, got 0\.5; leave"):
        resume(changed, "--set", out)
    with pytest.raises(UsageError, match=r"--data: must be the data of the run \(\w+\), got 'other'; give the file"):
        do(resume({}, "", out), replace(noisy, fingerprint="other"), out)
    latest = sorted((out / CHECKPOINTS).iterdir())[-1]
    latest.write_bytes(latest.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=r"epoch_00002\.pt: .*, or delete this file to go on from the one before"):
        resume({}, "", out)
    latest.unlink()
    assert do(resume({}, "", out), noisy, out)["score"] >= 0
