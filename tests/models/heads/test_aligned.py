"""Cells that learn the objects they find best."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whc.models.boxes import IouKind, best, iou
from whc.models.heads import aligned

SIDES = (4, 6)  # of the map of cells
SURE = 8.0  # a logit of a score near 1


def head(classes: int = 1, upscale: int = 1, **settings: str) -> aligned._Aligned:
    config = aligned.Config.model_validate({"upscale": upscale, **settings})
    built = aligned.build(config, 4, SIDES, 0.0, classes)
    assert isinstance(built, aligned._Aligned)
    return built


def softplus_inverse(value: float) -> float:
    return value + math.log(-math.expm1(-value))


@given(
    st.integers(0, 3),
    st.integers(0, 5),
    st.floats(-0.4, 0.4),
    st.floats(-0.4, 0.4),
    st.floats(0.3, 2),
    st.floats(0.3, 2),
)
def test_a_perfect_map_is_decoded_to_its_box(row: int, column: int, x: float, y: float, w: float, h: float) -> None:
    raw = torch.full((1, 6, *SIDES), -SURE)
    raw[0, 1, row, column] = SURE
    raw[0, 2:, row, column] = torch.tensor([x, y, softplus_inverse(w), softplus_inverse(h)])
    found = best(head(2).decode(raw), 3, 0.6)[0, 0]
    expected = torch.tensor([(column + 0.5 + x) / 6, (row + 0.5 + y) / 4, w / 6, h / 4])
    assert found[0] > 0.99
    assert found[1] == 1
    torch.testing.assert_close(found[2:], expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_learning_finds_the_boxes_and_leaves_empty_pictures_empty(seed: int) -> None:
    """Raw numbers alone are learnt: two boxes, of which one is smaller than a cell, and a picture without any."""
    rng = np.random.default_rng(seed)
    targets = torch.full((2, 3, 5), -1.0)
    targets[0, 0] = torch.tensor([*rng.uniform(0.2, 0.35, 2), 0.25, 0.35, 0])
    targets[0, 1] = torch.tensor([*rng.uniform(0.65, 0.8, 2), 0.08, 0.15, 1])
    raw = torch.from_numpy(rng.normal(0, 0.5, (2, 6, *SIDES)).astype(np.float32)).requires_grad_()
    learner, optimizer = head(2), torch.optim.Adam([raw], lr=0.1)
    for _ in range(250):
        optimizer.zero_grad()
        learner.loss(raw, targets).backward()
        optimizer.step()
    found = best(learner.decode(raw.detach()), 5, learner.nms_iou)
    for i in range(2):
        of_class = found[0][found[0, :, 1] == targets[0, i, 4]]
        assert iou(of_class[0, 2:], targets[0, i, :4]) > 0.7
        assert of_class[0, 0] > 0.5
    assert found[1, 0, 0] < 0.2


def test_no_cell_learns_what_is_not_there() -> None:
    terms = head().loss_terms(torch.zeros(2, 5, *SIDES), torch.full((2, 3, 5), -1.0))
    assert terms["box"] == 0
    assert terms["score"] == pytest.approx(2 * 24 * math.log(2), rel=1e-5)


@pytest.mark.parametrize("upscale", [1, 2, 4])
def test_upscale_gives_cells_their_own_numbers(upscale: int) -> None:
    torch.manual_seed(0)
    raw = head(1, upscale)(torch.rand(1, 4, *SIDES))
    assert raw.shape == (1, 5, 4 * upscale, 6 * upscale)
    assert len(raw.unique()) == raw.numel()


def test_scores_begin_low() -> None:
    learner = head(3, 2)
    learner.prepare(np.empty((0, 1, 5), np.float32))
    scores = learner.decode(learner(torch.rand(1, 4, *SIDES)))[..., 0]
    assert scores.max() < 0.1


@pytest.mark.parametrize("kind", ["iou", "giou", "ciou"])
def test_the_loss_of_the_boxes_is_1_minus_their_overlap_of_the_kind_chosen(kind: IouKind) -> None:
    target = torch.tensor([[[0.25, 0.375, 1 / 6, 0.25, 0]]])  # just the cell in row 1 and column 1
    raw = torch.full((1, 5, *SIDES), -SURE)
    raw[0, 1:, 1, 1] = torch.tensor([0.3, 0, softplus_inverse(1.0), softplus_inverse(0.5)])
    built = head(iou=kind)
    learnt = built.read(raw)[1][0, 1 * SIDES[1] + 1]
    quality = float(iou(learnt, target[0, 0, :4]))
    # Only this cell's box meets the object, so no other learns it; the sum of the overlaps counts as 1 at least.
    expected = (1 - float(iou(learnt, target[0, 0, :4], kind))) * quality
    assert float(built.loss_terms(raw, target)["box"]) == pytest.approx(expected, rel=1e-4)
