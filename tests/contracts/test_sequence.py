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


def seeing(name: str, differences: bool) -> dict[str, object]:
    """Changes of the configuration for a network that sees differences of frames, if it can."""
    can_differ = "differences" in plugins.load(KIND, name).Config.model_fields
    return {"sequence": {name: {"differences": True}}} if differences and can_differ else {}


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
@pytest.mark.parametrize("differences", [False, True])
def test_logits(name: str, color: Color, outputs: int, differences: bool) -> None:
    parsed = config(name, color=color, **seeing(name, differences))
    logits = build(parsed, outputs).eval()(torch.rand(3, *parsed.input_shape))
    assert logits.shape == (3, outputs)
    assert logits.isfinite().all()


@pytest.mark.parametrize("differences", [False, True])
def test_every_frame_counts(name: str, differences: bool) -> None:
    torch.manual_seed(0)
    parsed = config(name, **seeing(name, differences))
    network = build(parsed, 1).eval()
    frames = np.random.default_rng(0).integers(0, 256, (1, parsed.frames, *parsed.image_size, 3), np.uint8)
    plain = network(torch.from_numpy(to_input(frames, parsed.layout)))
    for i in range(parsed.frames):
        changed = frames.copy()
        changed[:, i] = 255 - changed[:, i]
        assert not torch.allclose(network(torch.from_numpy(to_input(changed, parsed.layout))), plain, atol=1e-6)


@pytest.mark.parametrize("color", ["rgb", "luma"])
def test_differences_leave_out_what_stands_still(name: str, color: Color) -> None:
    if not seeing(name, True):
        pytest.skip("sees one frame")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    motion, scene = rng.integers(0, 120, (2, 4, 16, 20, 3), np.uint8), rng.integers(0, 120, (2, 1, 16, 20, 3), np.uint8)
    for differences in (False, True):
        parsed = config(name, color=color, **seeing(name, differences))
        network = build(parsed, 1).eval()
        plain, elsewhere = (
            network(torch.from_numpy(to_input(frames, parsed.layout))) for frames in (motion, motion + scene)
        )
        assert torch.allclose(plain, elsewhere, atol=1e-5) == differences


def test_differences_need_two_frames_and_are_not_written_while_off(name: str) -> None:
    if not seeing(name, True):
        pytest.skip("sees one frame")
    config_type: Any = plugins.load(KIND, name).Config
    assert config_type().model_dump(mode="json") == {"frames": 4}
    assert config_type(differences=True).model_dump(mode="json") == {"frames": 4, "differences": True}
    with pytest.raises(ValueError, match=r"equal to 2|be 2 or more"):
        config_type(frames=1, differences=True)


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
