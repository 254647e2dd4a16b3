"""What every contract asks of a plug-in's `Config`, and how networks are made to differ from fresh ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pydantic import BaseModel, ValidationError
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from whc import plugins
from whc.plugins import ChoiceOf

CheckConfig = Callable[[str, str], None]
Season = Callable[[nn.Module, tuple[int, ...]], nn.Module]


def _check_config(kind: str, name: str) -> None:
    config_type: type[BaseModel] = plugins.load(kind, name).Config
    with pytest.raises(ValidationError, match="not permitted"):
        config_type.model_validate({"no_such_parameter": 1})
    config = config_type()
    for parameter in config_type.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config, parameter, getattr(config, parameter))
    choice = ChoiceOf(kind).parse(name)
    assert choice.config == config
    assert ChoiceOf(kind).parse(choice.dump()) == choice


def _season(network: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A network that looks trained: no parameter at its first value, BatchNorm statistics gathered, outputs spread."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = None  # plain averages: the first values leave no trace
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        network.train()
        for _ in range(5):
            # Noise of different brightness, so that outputs differ from picture to picture.
            network(torch.rand(16, *input_shape) * torch.rand(16, *(1 for _ in input_shape)))
    return network.eval()


@pytest.fixture
def check_config() -> CheckConfig:
    """Call with a kind and a name: refuses unknown keys, is frozen, and survives being written and read."""
    return _check_config


@pytest.fixture
def season() -> Season:
    """Call with a network and its input's shape without the batch."""
    return _season
