"""Every head that gives numbers: (N, channels, h, w) to (N, outputs)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from whc import plugins

KIND = "models.heads"

NAMES = [name for name in plugins.names(KIND) if getattr(plugins.load(KIND, name), "GIVES", "numbers") == "numbers"]

pytestmark = pytest.mark.parametrize("name", NAMES)

# (channels, feature map, outputs)
SHAPES = [(8, (4, 6), 1), (5, (4, 6), 3), (16, (8, 8), 1), (8, (7, 3), 2), (1, (1, 1), 1)]


def build(name: str, channels: int, feature_size: tuple[int, int], outputs: int, dropout: float = 0.0) -> nn.Module:
    module: Any = plugins.load(KIND, name)
    head: nn.Module = module.build(module.Config(), channels, feature_size, dropout, outputs)
    return head


def test_config(name: str, check_config: Callable[[str, str], None]) -> None:
    check_config(KIND, name)


@pytest.mark.parametrize(("channels", "feature_size", "outputs"), SHAPES)
def test_shapes(name: str, channels: int, feature_size: tuple[int, int], outputs: int) -> None:
    try:
        head = build(name, channels, feature_size, outputs)
    except ValueError as error:
        assert str(error), "a head that does not fit says what would"
        assert (channels, feature_size, outputs) != SHAPES[0], "every head fits a common feature map"
        return
    logits = head.eval()(torch.rand(5, channels, *feature_size))
    assert logits.shape == (5, outputs)
    assert logits.isfinite().all()


def test_gradients_reach_every_parameter_and_the_features(name: str) -> None:
    torch.manual_seed(0)
    head = build(name, 8, (4, 6), 1, dropout=0.3).train()
    features = torch.rand(32, 8, 4, 6, requires_grad=True)
    logits = head(features)
    (logits * torch.randn_like(logits)).sum().backward()
    assert features.grad is not None
    assert features.grad.any()
    for parameter_name, parameter in head.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


def test_dropout_is_used_in_training_only(name: str) -> None:
    torch.manual_seed(0)
    head = build(name, 8, (4, 6), 1, dropout=0.9)
    features = torch.rand(16, 8, 4, 6)
    assert any(isinstance(layer, nn.Dropout) and layer.p == 0.9 for layer in head.modules())
    assert not torch.equal(head.train()(features), head(features))
    assert torch.equal(head.eval()(features), head(features))


def test_the_seed_decides_everything(name: str) -> None:
    def output(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        head = build(name, 8, (4, 6), 1, dropout=0.3).train()
        logits: torch.Tensor = head(torch.rand(4, 8, 4, 6))
        return logits

    assert torch.equal(output(1), output(1))
    assert not torch.equal(output(1), output(2))
