"""Heads that see the feature map as a grid of tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from whc.config import validate
from whc.errors import UsageError
from whc.models.assemble import ModelConfig
from whc.models.heads import transformer
from whc.models.tokens import TokenHead, pooling_kernel


@pytest.mark.parametrize(("written", "grid"), [("2x3", (2, 3)), ("1x1", (1, 1)), ("12x4", (12, 4))])
def test_grids_are_written_as_rows_x_columns(written: str, grid: tuple[int, int]) -> None:
    config = transformer.Config.model_validate({"grid": written})
    assert config.grid == grid
    assert config.model_dump(mode="json")["grid"] == written


@pytest.mark.parametrize("written", ["2", 2, "2x", "0x2", "2x-1", "2 x 3", [2, 3], None, "100x1"])
def test_grids_that_are_refused(written: object) -> None:
    rule = r"^f\.yaml: head\.mlp_mixer\.grid: must be ROWSxCOLUMNS, .*; write 2x3$"
    with pytest.raises(UsageError, match=rule):
        validate(ModelConfig, {"head": {"mlp_mixer": {"grid": written}}}, "f.yaml")


@pytest.mark.parametrize("head", ["transformer", "mlp_mixer"])
def test_a_grid_that_does_not_fit_is_told_with_those_that_do(head: str) -> None:
    message = r"grid must divide the feature map of 8x6, got 3x4; rows that fit: 1, 2, 4, 8, columns: 1, 2, 3, 6$"
    with pytest.raises(UsageError, match=message):
        validate(ModelConfig, {"head": {head: {"grid": "3x4"}}, "image_size": "32x24"}, "f.yaml")
    for grid in ("8x6", "2x3", "1x1"):
        ModelConfig.model_validate({"head": {head: {"grid": grid}}, "image_size": "32x24"})


@given(st.tuples(st.integers(1, 12), st.integers(1, 12)), st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_a_grid_fits_exactly_where_it_divides(size: tuple[int, int], grid: tuple[int, int]) -> None:
    if size[0] % grid[0] == 0 and size[1] % grid[1] == 0:
        kernel = pooling_kernel(size, grid)
        assert (kernel[0] * grid[0], kernel[1] * grid[1]) == size
    else:
        with pytest.raises(ValueError, match="rows that fit"):
            pooling_kernel(size, grid)


def test_tokens_are_means_row_by_row() -> None:
    seen: list[torch.Tensor] = []

    class Look(nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            seen.append(tokens)
            return tokens

    features = torch.rand(2, 5, 4, 6)
    TokenHead(Look(), 5, (4, 6), (2, 3), 0.0, 1).eval()(features)
    means = features.view(2, 5, 2, 2, 3, 2).mean((3, 5))
    assert seen[0].shape == (2, 6, 5)
    for row in range(2):
        for column in range(3):
            torch.testing.assert_close(seen[0][:, 3 * row + column], means[:, :, row, column])


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 99))
def test_the_encoder_is_pytorch_s(channels: int, layers: int, seed: int) -> None:
    """The same weights under the same names, the same output."""
    torch.manual_seed(seed)
    heads = max(count for count in range(1, 9) if channels % count == 0)
    hidden = max(128, 2 * channels)
    layer = nn.TransformerEncoderLayer(channels, heads, hidden, 0.0, "gelu", batch_first=True, norm_first=True)
    theirs = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    head = transformer.build(transformer.Config(layers=layers), channels, (4, 6), 0.0, 1)
    ours = head.get_submodule("mixer")
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    tokens = torch.randn(3, 6, channels)
    torch.testing.assert_close(ours(tokens), theirs(tokens), atol=1e-4, rtol=1e-4)


def test_pooling_is_one_plain_average_or_nothing() -> None:
    pools = [TokenHead(nn.Identity(), 8, (4, 6), grid, 0.0, 1).pool for grid in ((2, 2), (4, 6))]
    assert isinstance(pools[0], nn.AvgPool2d)
    assert isinstance(pools[1], nn.Identity)
