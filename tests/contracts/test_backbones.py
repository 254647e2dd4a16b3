"""Every backbone: (N, channels, H, W) to (N, out_channels, h, w)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from whc import plugins
from whc.models.backbones import Backbone, block_plan

KIND = "models.backbones"
NAMES = plugins.names(KIND)

pytestmark = pytest.mark.parametrize("name", NAMES)


def build(name: str, channels: int = 3, width: int = 6, depth: int = 3, **parameters: object) -> Backbone:
    module: Any = plugins.load(KIND, name)
    backbone: Backbone = module.build(module.Config(**parameters), channels, width, depth)
    return backbone


def test_config(name: str, check_config: Callable[[str, str], None]) -> None:
    check_config(KIND, name)


@pytest.mark.parametrize(
    ("channels", "width", "depth", "size"),
    [(3, 4, 1, (16, 16)), (1, 5, 2, (24, 16)), (6, 8, 3, (30, 48)), (12, 4, 5, (33, 47)), (3, 1, 4, (32, 32))],
)
def test_shapes(name: str, channels: int, width: int, depth: int, size: tuple[int, int]) -> None:
    backbone = build(name, channels, width, depth).eval()
    features = backbone(torch.rand(2, channels, *size))
    assert features.shape[:2] == (2, backbone.out_channels)
    # The stem has shrunk the map at least; in the plan that most share, block i halves it when i is even and above 0.
    halvings = 1
    if "block_plan" in vars(plugins.load(KIND, name)):
        halvings += (depth - 1) // 2
        assert backbone.out_channels == width * 2 ** (halvings - 1)
    for side, given in zip(features.shape[2:], size, strict=True):
        assert 1 <= side <= given / 2**halvings + 1
    assert features.isfinite().all()


def test_one_block_for_each_of_depth(name: str) -> None:
    assert [len(build(name, depth=depth).features) for depth in (1, 2, 5)] == [1, 2, 5]


def test_gradients_reach_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    backbone = build(name, width=8, depth=4).train()
    features = backbone(torch.rand(4, 3, 32, 24))
    (features * torch.randn_like(features)).sum().backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


def test_the_seed_decides_everything(name: str) -> None:
    def output(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        backbone = build(name).train()
        features: torch.Tensor = backbone(torch.rand(2, 3, 16, 16))
        return features

    assert torch.equal(output(1), output(1))
    assert not torch.equal(output(1), output(2))


def test_evaluation_treats_images_one_by_one(name: str) -> None:
    backbone = build(name).eval()
    images = torch.rand(3, 3, 16, 24)
    together = backbone(images)
    for i in range(3):
        torch.testing.assert_close(backbone(images[i : i + 1])[0], together[i], atol=1e-5, rtol=1e-5)


def test_parameters_of_its_own_are_used(name: str) -> None:
    """Every integer parameter changes the network when it takes its least or largest value."""
    module: Any = plugins.load(KIND, name)

    def layout(**parameters: object) -> str:
        return str(build(name, width=16, **parameters))

    for parameter, field in module.Config.model_fields.items():
        limits = [getattr(bound, key) for bound in field.metadata for key in ("ge", "le") if hasattr(bound, key)]
        assert {layout()} != {layout(**{parameter: limit}) for limit in limits if limit != field.default}, parameter
        for limit in limits:
            assert build(name, width=16, **{parameter: limit}).eval()(torch.rand(1, 3, 16, 16)).isfinite().all()


def test_the_block_plan(name: str) -> None:
    del name
    assert list(block_plan(4, 5)) == [(4, 4, 1), (4, 4, 1), (4, 8, 2), (8, 8, 1), (8, 16, 2)]
