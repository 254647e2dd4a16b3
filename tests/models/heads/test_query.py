"""Learned queries: tokens, places, and which query is to give which box."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from whc.models.attention import DecoderLayer, EncoderLayer, position_code
from whc.models.heads import query


def head(**parameters: Any) -> query._Query:
    built = query.build(query.Config(**parameters), 8, (4, 6), 0.0, 1)
    assert isinstance(built, query._Query)
    return built


def costs(seed: int, queries: int, count: int) -> Tensor:
    return torch.rand(2, queries, count, generator=torch.Generator().manual_seed(seed))


def cheapest_first(cost: Tensor) -> list[int]:
    matched = [-1] * len(cost)
    for place in cost.flatten().argsort():
        row, column = divmod(int(place), cost.shape[1])
        if matched[row] < 0 and column not in matched and cost[row, column].isfinite():
            matched[row] = column
    return matched


@given(seed=st.integers(0, 10**6), queries=st.integers(1, 6), count=st.integers(1, 6), missing=st.integers(0, 3))
def test_the_cheapest_pair_comes_first(seed: int, queries: int, count: int, missing: int) -> None:
    cost = costs(seed, queries, count)
    cost[1, :, max(0, count - missing) :] = torch.inf
    matched = query._cheapest_first(cost)
    assert matched.tolist() == [cheapest_first(picture) for picture in cost]


@given(seed=st.integers(0, 10**6), count=st.integers(1, 4))
def test_together_no_other_pairs_are_cheaper(seed: int, count: int) -> None:
    cost = costs(seed, 5, 4)
    present = torch.arange(4) < torch.tensor([[4], [count]])
    for picture, matched, wanted in zip(cost, query._cheapest_together(cost, present), (4, count), strict=True):
        pairs = [(row, column) for row, column in enumerate(matched.tolist()) if column >= 0]
        assert sorted(column for _, column in pairs) == list(range(wanted))
        least = min(
            sum(picture[row, column].item() for column, row in enumerate(rows))
            for rows in permutations(range(5), wanted)
        )
        assert sum(picture[pair].item() for pair in pairs) == pytest.approx(least)


@pytest.mark.parametrize("matching", ["greedy", "hungarian"])
def test_more_boxes_than_queries(matching: str) -> None:
    few = head(queries=2, matching=matching).eval()
    targets = torch.rand(3, 5, 5)
    targets[..., 4] = 0
    with torch.no_grad():
        assert few.loss(few(torch.rand(3, 8, 4, 6)), targets).isfinite()


def test_levels_add_the_tokens_of_smaller_maps() -> None:
    counts: list[int] = []
    for levels in (1, 2, 3, 4):
        network = head(levels=levels).eval()
        network.encoder.register_forward_pre_hook(lambda _, given_tokens: counts.append(given_tokens[0].shape[1]))
        network(torch.rand(1, 8, 4, 6))
    assert counts == [24, 24 + 24, 24 + 24 + 6, 24 + 24 + 6 + 2]


def test_places_have_codes_of_their_own() -> None:
    code = position_code(torch.zeros(1, 8, 5, 7))
    assert code.shape == (8, 5, 7)
    assert torch.equal(code[:4, 0], code[:4, 4])
    assert torch.equal(code[4:, :, 0], code[4:, :, 6])
    torch.testing.assert_close(code[:, 0, 0], torch.tensor([0.0, 0, 1, 1, 0, 0, 1, 1]))
    assert len(code.flatten(1).T.unique(dim=0)) == 35


def test_channels_that_do_not_fit_are_refused() -> None:
    for channels, heads in ((6, 2), (8, 3)):
        with pytest.raises(ValueError, match=f"{heads} heads, got {channels}; choose another width"):
            query.build(query.Config(heads=heads), channels, (4, 4), 0.0, 1)


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_layers_compute_what_pytorch_s_own_do(activation: str) -> None:
    torch.manual_seed(0)
    function = {"relu": nn.functional.relu, "silu": nn.functional.silu}[activation]
    theirs = nn.TransformerDecoderLayer(8, 2, 16, 0.0, function, batch_first=True)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, 0.0, function, batch_first=True)
    ours, our_encoder = DecoderLayer(8, 2, 16, 0.0, activation), EncoderLayer(8, 2, 16, 0.0, activation)
    ours.load_state_dict(theirs.state_dict())
    our_encoder.load_state_dict(encoder.state_dict())
    queries, memory = torch.randn(3, 5, 8), torch.randn(3, 11, 8)
    torch.testing.assert_close(ours(queries, memory), theirs(queries, memory))
    torch.testing.assert_close(our_encoder(memory), encoder(memory))
