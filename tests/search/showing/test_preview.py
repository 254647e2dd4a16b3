"""A search looked at before it runs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch

from whc.data.dataset import Corpus
from whc.errors import DataError, UsageError
from whc.search.running.study import SearchFile
from whc.search.showing import preview
from whc.search.showing.preview import describe
from whc.search.space import space
from whc.trials.run import Limits

RAW: dict[str, Any] = {
    "model": {
        "backbone": {"baseline": {}, "inverted_se": {"expansion": [2, 4]}},
        "width": [4, 8],
        "depth": 2,
        "image_size": 16,
    },
    "training": {"epochs": 3, "lr": {"float": [1e-3, 1e-2], "log": True}, "augmentation": {"hue": [0, 0.1]}},
}


@pytest.fixture(scope="module")
def tree() -> space.Section:
    return space.compile_space(RAW, "s.yaml")


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fewer in {"COUNTED_SAMPLES": 8, "TIMED_SAMPLES": 2, "TIMED_SECONDS": 0.1}.items():
        monkeypatch.setattr(preview, name, fewer)
    monkeypatch.setattr("whc.search.sampling.limits.SAMPLE_DRAWS", 12)


def settings(**changes: Any) -> SearchFile:
    return SearchFile(name="hands", recipe="tiny", space=RAW, **{"trials": 40, "workers": 2, **changes})


def test_without_data(tree: space.Section) -> None:
    told = preview.preview(settings(), tree, "s.yaml")
    assert [one.key for one in told.parameters] == [
        "model.backbone",
        "model.backbone.inverted_se.expansion",
        "model.width",
        "training.lr",
        "training.augmentation.hue",
    ]
    assert told.fixed == 3
    assert len(told.samples) == preview.SHOWN_SAMPLES
    assert (told.over, told.cost) == ({}, None)
    again = preview.preview(settings(), tree, "s.yaml")
    assert [one.config for one in again.samples] == [one.config for one in told.samples]
    other = preview.preview(settings(seed=1), tree, "s.yaml")
    assert [one.config for one in other.samples] != [one.config for one in told.samples]


def test_a_sample_in_a_line(tree: space.Section) -> None:
    for one in preview.preview(settings(), tree, "s.yaml").samples:
        line = describe(one)
        assert re.fullmatch(
            r"(baseline|inverted_se)/avg rgb w[48] d2 16px, [\d,]+ weights; "
            r"lr 0\.0[\d]+, hue (0|0\.1)",
            line,
        ), line
        assert f"{one.params:,} weights" in line
    bare = space.compile_space({"model": {"width": [4, 8]}}, "s.yaml")
    assert describe(preview.preview(settings(), bare, "s.yaml").samples[0]).endswith(" weights")


def test_limits_are_counted_and_refused(tree: space.Section) -> None:
    told = preview.preview(settings(), tree, "s.yaml")
    weights = sorted(one.params for one in told.samples)
    bounded = preview.preview(settings(limits=Limits(params=weights[0], latency_ms=1)), tree, "s.yaml")
    assert bounded.over.keys() == {"params"}
    assert 0 < bounded.over["params"] < bounded.counted == preview.COUNTED_SAMPLES
    with pytest.raises(UsageError, match=r"s\.yaml: limits\.params: must be kept by a network of the space, got 9; "):
        preview.preview(settings(limits=Limits(params=9)), tree, "s.yaml")


def test_cost_is_of_this_data(tree: space.Section, bright_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 100 images/s, 48 images to train on, 24 to validate (a third of the work) and 3 epochs."""
    monkeypatch.setattr(preview, "_pace", lambda training, images, seconds: 100.0)
    told = preview.preview(settings(), tree, "s.yaml", bright_corpus).cost
    assert told is not None
    seconds = 3 * (48 + 24 / 3) / 100
    assert told.trial_seconds == pytest.approx((seconds, seconds))
    assert told.minutes == pytest.approx(seconds * 40 / 2 / 60)
    assert (told.rows, told.trials, told.workers, told.timed) == (48, 40, 2, preview.TIMED_SAMPLES)
    more = preview.preview(settings(workers=4), tree, "s.yaml", bright_corpus, trials=10).cost
    assert more is not None
    assert more.minutes == pytest.approx(told.minutes * 10 / 40 * 2 / 4)
    alone = preview.preview(settings(workers=8), tree, "s.yaml", bright_corpus, trials=1).cost
    assert alone is not None
    assert alone.minutes == pytest.approx(seconds / 60)


def test_the_pace_is_measured(tree: space.Section, bright_corpus: Corpus) -> None:
    threads = torch.get_num_threads()
    told = preview.preview(settings(), tree, "s.yaml", bright_corpus)
    assert torch.get_num_threads() == threads
    assert told.cost is not None
    slow, fast = told.cost.images_per_second
    assert 10 < slow < fast < 1e6
    assert told.cost.minutes > 0
    assert json.loads(json.dumps(told.as_json()))["cost"]["minutes"] == told.cost.minutes


def test_an_epoch_is_left_when_enough_is_seen(bright_corpus: Corpus, tree: space.Section) -> None:
    sample = preview.preview(settings(), tree, "s.yaml").samples[0]
    training = sample.config.training.model_copy(update={"batch_size": 4})
    trainer = preview.trainer(sample.config.model_copy(update={"training": training}), bright_corpus)
    assert preview._pace(trainer, 8, 60) > 0
    assert trainer.curve == []  # it broke off
    assert preview._pace(trainer, 10**6, 60) > 0
    assert len(trainer.curve) == 1  # the whole epoch was too little


def test_data_that_cannot_be_trained_on_is_told(bright_corpus: Corpus) -> None:
    raw = {"model": {"sequence": {"frame_stack": {"frames": [8, 16]}}, "image_size": 16, "width": 4}}
    with pytest.raises(DataError, match="must have a clip of at least"):
        preview.preview(settings(), space.compile_space(raw, "s.yaml"), "s.yaml", bright_corpus)


def test_as_json(tree: space.Section) -> None:
    told = json.loads(json.dumps(preview.preview(settings(limits=Limits(params=10**6)), tree, "s.yaml").as_json()))
    assert told["parameters"][1] == {
        "key": "model.backbone.inverted_se.expansion",
        "when": "model.backbone is inverted_se",
        "name": "CategoricalDistribution",
        "attributes": {"choices": [2, 4]},
    }
    assert (told["name"], told["fixed"], told["counted"], told["over"], told["cost"]) == (
        "hands",
        3,
        preview.COUNTED_SAMPLES,
        {"params": 0},
        None,
    )
    sample = told["samples"][0]
    assert sample["config"]["training"]["lr"] == sample["drawn"]["training.lr"]
    assert sample["params"] > 0
    assert sample["summary"] == describe(preview.preview(settings(), tree, "s.yaml").samples[0])
