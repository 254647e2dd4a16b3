"""Folding changes how a network is computed, never what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from whc.export.fold import fold
from whc.models.assemble import ModelConfig, StillNetwork, build
from whc.models.color import Luma

Season = Callable[[nn.Module, tuple[int, ...]], nn.Module]


def pictures(count: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Noise of different brightness, so that outputs differ from picture to picture."""
    return torch.rand(count, *shape) * torch.rand(count, *(1 for _ in shape))


def check(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Fold, compare with the original in double precision, and return the folded network."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    training = network.training
    folded = fold(network)
    assert network.training == training
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not folded.training
    assert not [module for module in folded.modules() if isinstance(module, _BatchNorm | nn.Dropout)]
    images = pictures(6, shape)
    with torch.inference_mode():
        exact = network.eval().double()(images.double())
        assert exact.std() > 1e-2, "outputs that hardly differ prove nothing"
        torch.testing.assert_close(folded(images).double(), exact, atol=1e-5, rtol=1e-5)
    return folded


@pytest.mark.parametrize(
    "sequence", ["none", {"frame_stack": {"frames": 3}}, {"frame_stack": {"frames": 3, "differences": True}}]
)
@pytest.mark.parametrize("color", ["rgb", "luma"])
@pytest.mark.parametrize("head", ["avg", "avgmax_mlp", "linear"])
@pytest.mark.parametrize(
    "backbone",
    [
        "baseline",
        "convnext",
        "efficientnet",
        "inverted_se",
        {"inverted_se": {"expansion": 1, "se_reduction": 0}},
        "plain",
    ],
)
def test_networks(season: Season, backbone: object, head: str, color: str, sequence: object) -> None:
    torch.manual_seed(0)
    config = ModelConfig.model_validate(
        {
            "backbone": backbone,
            "head": head,
            "color": color,
            "sequence": sequence,
            "width": 5,
            "depth": 3,
            "image_size": "16x20",
        }
    )
    folded = check(season(build(config, 1), config.input_shape).train(), config.input_shape)
    assert isinstance(folded, StillNetwork)
    # Luma of one frame goes into the stem; of several, it is cheaper than a stem of three times their channels.
    assert isinstance(folded.color, Luma) == (color == "luma" and config.frames > 1)
    stem = folded.backbone.stem[0]
    assert isinstance(stem, nn.Conv2d)
    assert stem.in_channels == (config.frames if isinstance(folded.color, Luma) else config.input_shape[0])


def test_what_stands_before_the_stem_s_convolution_stays_there(season: Season) -> None:
    torch.manual_seed(0)
    options = {"padding": "same_tensorflow", "normalize": "imagenet"}
    content = {"backbone": {"efficientnet": options}, "width": 5, "depth": 3, "image_size": "16x21"}
    config = ModelConfig.model_validate(content)
    check(season(build(config, 1), config.input_shape).train(), config.input_shape)


@pytest.mark.parametrize("sequence", ["none", "lstm", "cnn3d"])
@pytest.mark.parametrize("head", ["transformer", "mlp_mixer"])
@pytest.mark.parametrize("color", ["luma", "lab", "luv"])
def test_what_is_left_computes_the_same(season: Season, head: str, color: str, sequence: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig.model_validate(
        {
            "head": {head: {"grid": "2x1"}},
            "color": color,
            "sequence": sequence,
            "width": 5,
            "depth": 2,
            "image_size": "16x20",
        }
    )
    network = season(build(config, 1), config.input_shape)
    folded = fold(network)
    assert not [module for module in folded.modules() if isinstance(module, _BatchNorm)]
    # Luma costs nothing before a convolution over one picture; over time, three channels would cost more than it does.
    luma_modules = [module for module in folded.modules() if isinstance(module, Luma)]
    assert bool(luma_modules) == (color == "luma" and sequence == "cnn3d")
    images = pictures(6, config.input_shape)
    with torch.inference_mode():
        exact = network(images)
        assert exact.std() > 1e-3, "outputs that hardly differ prove nothing"
        torch.testing.assert_close(folded(images), exact, atol=1e-4, rtol=1e-4)


def test_sequences_within_sequences(season: Season) -> None:
    torch.manual_seed(0)

    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
            self.layers = nn.Sequential(inner, nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))))
            self.head = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.layers(images).mean((2, 3)))
            return logits

    check(season(Nested(), (3, 8, 8)).train(), (3, 8, 8))


def test_statistics_of_very_different_size() -> None:
    """A large mean beside a small variance; one variance below BatchNorm's own epsilon."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1)))
    norm = network.get_submodule("0.0")
    norm.get_buffer("running_mean").copy_(torch.tensor([100.0, -100.0, 1.0, 0.0]))
    norm.get_buffer("running_var").copy_(torch.tensor([1e-2, 1e4, 1.0, 1e-6]))
    rows = norm.get_buffer("running_mean") + torch.randn(8, 4) * norm.get_buffer("running_var").sqrt()
    expected = network.eval().double()(rows.double())
    folded = fold(network.float())
    torch.testing.assert_close(folded(rows).double(), expected, atol=2e-3, rtol=1e-3)


def test_the_layer_scale_is_merged_away(season: Season) -> None:
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"backbone": "convnext", "width": 8, "depth": 3})
    folded = check(season(build(config, 1), config.input_shape).train(), config.input_shape)
    assert not [name for name, _ in folded.named_parameters() if "gamma" in name]
