"""The map of centres: one cell for each object."""

from __future__ import annotations

import pytest
import torch

from whc.models.heads import centre

SURE = 12.0  # a logit of a score near 1


def head(classes: int = 1) -> centre._Centre:
    built = centre.build(centre.Config(), 4, (2, 4), 0.0, classes)
    assert isinstance(built, centre._Centre)
    return built


def perfect(classes: int = 1) -> torch.Tensor:
    """Of a map of 2x4: an object of the last class in row 1, column 2."""
    raw = torch.zeros(1, classes + 4, 2, 4)
    raw[:, :classes] = -SURE
    raw[0, classes - 1, 1, 2] = SURE
    raw[0, classes:, 1, 2] = torch.tensor([0.25, 0.5, 1.2, 0.6])
    return raw


@pytest.mark.parametrize("classes", [1, 3])
def test_a_perfect_map_is_decoded_to_its_box_and_costs_next_to_nothing(classes: int) -> None:
    box = torch.tensor([2.25 / 4, 1.5 / 2, 1.2 / 4, 0.6 / 2])
    candidates = head(classes).decode(perfect(classes))[0]
    assert len(candidates) == classes * 8
    best = candidates[candidates[:, 0].argmax()]
    assert best[0] > 0.99
    assert best[1] == classes - 1
    torch.testing.assert_close(best[2:], box)
    target = torch.cat([box, torch.tensor([classes - 1.0])])[None, None]
    for term in head(classes).loss_terms(perfect(classes), target).values():
        assert term < 1e-3


def test_a_later_box_in_the_same_cell_takes_the_place_of_the_size_but_not_of_the_class() -> None:
    first, second = [0.55, 0.75, 0.2, 0.2, 0.0], [0.5625, 0.75, 0.3, 0.3, 1.0]
    raw = perfect(2)
    terms = head(2).loss_terms(raw, torch.tensor([[first, second]]))
    assert terms["off"] < 1e-6
    assert terms["wh"] < 1e-6
    other_way = head(2).loss_terms(raw, torch.tensor([[second, first]]))
    assert other_way["off"] == pytest.approx(0.05)
    assert other_way["wh"] == pytest.approx(0.4 + 0.2)
    assert other_way["hm"] == terms["hm"] > 1
