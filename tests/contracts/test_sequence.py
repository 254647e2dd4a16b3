"""Every sequence model: frames in the layout it names, to logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch

from whc import plugins
from whc.data.preprocess import LAYOUTS, to_input
from whc.models.assemble import ModelConfig, build
from whc.models.color import Color
from whc.plugins import ChoiceOf

KIND = "models.sequence"

pytestmark = pytest.mark.parametrize("name", plugins.names(KIND))


def config(name: str, **changes: object) -> ModelConfig:
    return ModelConfig.model_validate({"sequence": name, "width": 4, "depth": 2, "image_size": "16x20", **changes})


def test_config(name: str, check_config: Callable[[str, str], None]) -> None:
    check_config(KIND, name)


def test_input_shape_is_that_of_packed_frames(name: str) -> None:
    module: Any = plugins.load(KIND, name)
    parameters = module.Config()
    count = module.frames(parameters)
    assert count >= 1
    assert module.INPUT_LAYOUT in LAYOUTS
    frames = np.zeros((2, count, 16, 20, 3), np.uint8)
    assert module.input_shape(parameters, (16, 20)) == to_input(frames, module.INPUT_LAYOUT).shape[1:]


def test_frames_are_as_configured(name: str) -> None:
    module: Any = plugins.load(KIND, name)
    if "frames" not in module.Config.model_fields:
        assert module.frames(module.Config()) == 1
        return
    for frames in (2, 7):
        choice = ChoiceOf(KIND).parse({name: {"frames": frames}})
        assert config(name, sequence=choice).frames == frames


@pytest.mark.parametrize("color", get_args(Color))
@pytest.mark.parametrize("outputs", [1, 3])
def test_logits(name: str, color: Color, outputs: int) -> None:
    parsed = config(name, color=color)
    logits = build(parsed, outputs).eval()(torch.rand(3, *parsed.input_shape))
    assert logits.shape == (3, outputs)
    assert logits.isfinite().all()


def test_every_frame_counts(name: str) -> None:
    torch.manual_seed(0)
    parsed = config(name)
    network = build(parsed, 1).eval()
    frames = np.random.default_rng(0).integers(0, 256, (1, parsed.frames, *parsed.image_size, 3), np.uint8)
    plain = network(torch.from_numpy(to_input(frames, parsed.layout)))
    for i in range(parsed.frames):
        changed = frames.copy()
        changed[:, i] = 255 - changed[:, i]
        assert not torch.allclose(network(torch.from_numpy(to_input(changed, parsed.layout))), plain, atol=1e-6)


def test_gradients_reach_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    parsed = config(name)
    network = build(parsed, 1).train()
    logits = network(torch.rand(16, *parsed.input_shape))
    (logits * torch.randn_like(logits)).sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


def test_the_seed_decides_everything(name: str) -> None:
    def output(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        parsed = config(name)
        logits: torch.Tensor = build(parsed, 1).train()(torch.rand(4, *parsed.input_shape))
        return logits

    assert torch.equal(output(1), output(1))
    assert not torch.equal(output(1), output(2))


def test_what_it_has_no_use_for_changes_nothing(name: str) -> None:
    module: Any = plugins.load(KIND, name)
    others: dict[str, object] = {"backbone": "convnext", "head": "avgmax_mlp", "depth": 3, "color": "luma", "width": 5}
    plain = config(name)
    for field, other in others.items():
        changed = config(name, **{field: other})
        unused = field in module.UNUSED
        assert (changed.model_dump(mode="json") == plain.model_dump(mode="json")) == unused, field
        assert (str(build(changed, 1)) == str(build(plain, 1))) == unused, field
    assert not set(module.UNUSED) & plain.model_dump(mode="json").keys()
    again = ModelConfig.model_validate(plain.model_dump(mode="json"))
    assert again.model_dump(mode="json") == plain.model_dump(mode="json")
