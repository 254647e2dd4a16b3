"""Networks from configurations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from whc.config import validate
from whc.errors import UsageError
from whc.models.assemble import ModelConfig, build

SMALL: dict[str, Any] = {"width": 4, "depth": 3, "image_size": 16}


def config(**changes: object) -> ModelConfig:
    return ModelConfig.model_validate({**SMALL, **changes})


@pytest.mark.parametrize(
    ("written", "size", "dumped"), [(32, (32, 32), 32), ("48x30", (48, 30), "48x30"), ("24x24", (24, 24), 24)]
)
def test_image_size(written: object, size: tuple[int, int], dumped: object) -> None:
    parsed = config(image_size=written)
    assert parsed.image_size == size
    assert parsed.model_dump(mode="json")["image_size"] == dumped
    assert ModelConfig.model_validate(parsed.model_dump(mode="json")) == parsed


@pytest.mark.parametrize("written", [7, 513, "32x", "x32", "32x7", "32 x 32", 32.5, [32, 32], None, "", -32, True])
def test_image_sizes_that_are_refused(written: object) -> None:
    with pytest.raises(UsageError, match=r"^f\.yaml: image_size: must be .*; (write|choose)"):
        validate(ModelConfig, {"image_size": written}, "f.yaml")


def test_a_resolved_configuration_is_read_back() -> None:
    parsed = config(backbone={"inverted_se": {"expansion": 2}}, sequence={"frame_stack": {"frames": 3}}, color="luma")
    assert ModelConfig.model_validate_json(parsed.model_dump_json()) == parsed


def test_frames_layout_and_input_shape_are_the_sequence_model_s() -> None:
    still, stacked = config(image_size="16x24"), config(image_size="16x24", sequence={"frame_stack": {"frames": 5}})
    assert (still.frames, still.layout, still.input_shape) == (1, "still", (3, 16, 24))
    assert (stacked.frames, stacked.layout, stacked.input_shape) == (5, "frame_stack", (15, 16, 24))


def test_what_is_too_small_is_refused_before_anything_is_built() -> None:
    with pytest.raises(UsageError, match=r"image_size 8 is too small for convnext with depth 7; use a larger image"):
        validate(ModelConfig, {"backbone": "convnext", "depth": 7, "image_size": 8}, "f.yaml")


@pytest.mark.parametrize(
    "changes", [{"width": 0}, {"depth": 0}, {"dropout": 1}, {"dropout": -0.1}, {"color": "cmyk"}, {"head": "avgg"}]
)
def test_values_out_of_range(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        config(**changes)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("color", ["rgb", "luma"])
@pytest.mark.parametrize("sequence", ["none", {"frame_stack": {"frames": 2}}])
def test_one_row_of_logits_an_image(outputs: int, color: str, sequence: object) -> None:
    parsed = config(color=color, sequence=sequence, image_size="16x20")
    network = build(parsed, outputs).eval()
    assert network(torch.rand(5, *parsed.input_shape)).shape == (5, outputs)


def test_checking_a_configuration_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    config()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_decides_the_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.nn.utils.parameters_to_vector(build(config(), 1).parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_initialisation() -> None:
    """Convolutions kaiming-normal by fan-out, linears xavier-uniform with zero bias, BatchNorm 1 and 0."""
    torch.manual_seed(0)
    network = build(config(width=64, image_size=32), 1)
    stem = network.get_submodule("backbone.stem.0").get_parameter("weight")
    assert stem.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    linear = network.get_submodule("head.layers.2")
    reach = (6 / (linear.get_parameter("weight").shape[1] + 1)) ** 0.5
    assert linear.get_parameter("weight").abs().max() <= reach
    assert linear.get_parameter("weight").abs().max() > 0.9 * reach
    assert not linear.get_parameter("bias").any()
    norm = network.get_submodule("backbone.stem.1")
    assert bool((norm.get_parameter("weight") == 1).all())
    assert not norm.get_parameter("bias").any()
