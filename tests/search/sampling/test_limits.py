"""Configurations drawn without a study, and limits that nothing in a space keeps."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from whc.errors import StudyError, UsageError
from whc.search.sampling import limits
from whc.search.space import space
from whc.trials import artifacts
from whc.trials.artifacts import untrained
from whc.trials.config import TrialConfig
from whc.trials.run import Limits

RAW: dict[str, Any] = {
    "model": {
        "backbone": {"baseline": {}, "inverted_se": {"expansion": [2, 4]}},
        "head": ["avg", "avgmax_mlp"],
        "width": {"int": [4, 99]},
        "depth": [2, 3, 4],
        "image_size": 16,
    },
    "training": {"lr": {"float": [1e-3, 1e-2]}},
}
SMALLEST = TrialConfig.model_validate({"model": {"width": 4, "depth": 2, "image_size": 16, "head": "avg"}})


@pytest.fixture(scope="module")
def tree() -> space.Section:
    return space.compile_space(RAW, "s.yaml")


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SAMPLE_DRAWS", 12)


def params(config: TrialConfig) -> int:
    return sum(weights.numel() for weights in untrained(config, ["no", "yes"]).parameters())


def test_samples_can_be_built_and_are_the_same_for_a_seed(tree: space.Section) -> None:
    drawn = list(islice(limits.samples(tree, None, 3), 6))
    assert [one.config for one in drawn] == [one.config for one in islice(limits.samples(tree, None, 3), 6)]
    assert [one.config for one in drawn] != [one.config for one in islice(limits.samples(tree, None, 4), 6)]
    for one in drawn:
        assert one.params == params(one.config)
        assert one.drawn["model.width"] == one.config.model.width
        assert ("model.backbone.inverted_se.expansion" in one.drawn) == (
            one.config.model.backbone.name == "inverted_se"
        )


def test_samples_keep_the_rules_and_can_be_built() -> None:
    model = {"backbone": {"convnext": {}}, "image_size": [8, 32], "depth": [2, 5], "width": [4, 8]}
    tree = space.compile_space({"model": model, "rules": ["model.width <= 4 where model.depth is 2"]}, "s.yaml")
    seen = {
        (m.image_size[0], m.depth, m.width) for m in (s.config.model for s in islice(limits.samples(tree, None), 40))
    }
    assert seen == {(8, 2, 4), (32, 2, 4), (32, 5, 4), (32, 5, 8)}


def test_a_space_where_nothing_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SAMPLE_DRAWS", 5)
    raw = {"model": {"backbone": "convnext", "image_size": 8, "depth": [9, 10]}}
    with pytest.raises(StudyError, match=r"space: must hold .*, got none in 5 draws; image_size 8 is too small for"):
        next(limits.samples(space.compile_space(raw, "s.yaml"), None))


@pytest.mark.parametrize(
    "model",
    [
        {"head": "avgmax_mlp", "color": "luma"},
        {"backbone": "convnext", "head": {"transformer": {"grid": "1x1"}}, "color": "lab"},
        {"backbone": "inverted_se", "head": {"mlp_mixer": {"grid": "2x2"}}},
        {"sequence": {"lstm": {"frames": 2}}},
        {"sequence": {"cnn3d": {"frames": 2}}},
    ],
    ids=lambda model: next(iter(model)) + str(len(model)),
)
def test_an_exported_file_is_no_smaller_than_told(model: dict[str, Any], tmp_path: Path) -> None:
    from whc.training.checkpoint import Checkpoint

    config = TrialConfig.model_validate({"model": {"width": 8, "depth": 3, "image_size": 16, **model}})
    blank = Checkpoint(config.resolved(), {}, ["no", "yes"], None, "", "", 0, 0.0)
    artifacts.export(config, untrained(config, ["no", "yes"]), blank, tmp_path / "m.onnx")
    told = limits.Sample(config, {}, 1).size_bytes
    size = (tmp_path / "m.onnx").stat().st_size
    assert size / 4 < told <= size


def test_limits_that_can_be_kept(tree: space.Section) -> None:
    limits.check_limits(tree, None, Limits(), "s.yaml")
    limits.check_limits(tree, None, Limits(latency_ms=1e-9), "s.yaml")  # is for the search to find out
    limits.check_limits(tree, None, Limits(params=10**6, size_bytes=10**7), "s.yaml")


@pytest.mark.usefixtures("_few")
def test_one_that_only_the_very_smallest_keeps_is_no_mistake(tree: space.Section) -> None:
    """Which none of the draws is."""
    assert not any(one.params <= params(SMALLEST) for one in islice(limits.samples(tree, None), limits.SAMPLE_DRAWS))
    limits.check_limits(tree, None, Limits(params=params(SMALLEST)), "s.yaml")


@pytest.mark.usefixtures("_few")
def test_one_that_nothing_keeps_is_told_with_the_nearest_miss(tree: space.Section) -> None:
    least = params(SMALLEST)
    with pytest.raises(UsageError) as error:
        limits.check_limits(tree, None, Limits(params=least - 1, size_bytes=40, latency_ms=1), "s.yaml")
    weights, size = str(error.value).splitlines()
    assert weights == (
        f"s.yaml: limits.params: must be kept by a network of the space, got {least - 1}; "
        f"the smallest found has {least} (baseline/avg rgb w4 d2 16px): raise the limit, or let smaller ones be drawn"
    )
    assert size.startswith("s.yaml: limits.size_bytes: must be kept by a network of the space, got 40; ")


@pytest.mark.usefixtures("_few")
def test_memory_can_be_spared_by_smaller_batches_too() -> None:
    tree = space.compile_space({"model": {"width": [4, 8]}, "training": {"batch_size": [16, 64]}}, "s.yaml")
    with pytest.raises(UsageError) as error:
        limits.check_limits(tree, None, Limits(peak_memory_bytes=1000), "s.yaml")
    least = TrialConfig.model_validate({"model": {"width": 4}, "training": {"batch_size": 16}})
    assert f"the smallest found has {artifacts.peak_memory_bytes(least, 1)} (" in str(error.value)


def test_over(tree: space.Section) -> None:
    sample = limits.Sample(SMALLEST, {}, 1)
    assert sample.over(Limits()) == []
    assert sample.over(Limits(params=sample.params, size_bytes=sample.size_bytes)) == []
    assert sample.over(Limits(params=sample.params - 1, size_bytes=sample.size_bytes)) == ["params"]
    assert sample.over(Limits(params=1, size_bytes=1)) == ["params", "size_bytes"]
