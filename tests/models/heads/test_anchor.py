"""Boxes as changes of anchors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from whc.models.heads import anchor

ANCHORS = ((0.1, 0.3), (0.4, 0.2))


def head(classes: int = 1, **parameters: Any) -> anchor._Anchor:
    config = anchor.Config(**({"num_anchors": 2, "anchors": ANCHORS} | parameters))
    built = anchor.build(config, 4, (2, 4), 0.0, classes)
    assert isinstance(built, anchor._Anchor)
    return built


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_anchors_that_are_found_are_the_original_s(shared: Path, count: int) -> None:
    golden = np.load(shared / "peer/uhd/auto_anchors.npz")
    np.testing.assert_allclose(anchor.auto_anchors(golden["wh"], count), golden[f"k{count}"], atol=1e-6)


def test_anchors_are_found_among_the_training_boxes_unless_they_are_given() -> None:
    targets = np.random.default_rng(0).uniform(0.05, 0.6, (30, 3, 5)).astype(np.float32)
    targets[..., 4] = 0
    targets[::2, 1:] = -1
    searching = head(num_anchors=3, anchors=())
    searching.prepare(targets)
    sides = targets[targets[..., 4] == 0][:, 2:4]
    assert searching.anchors.numpy().tolist() == anchor.auto_anchors(sides, 3).tolist()
    assert not torch.equal(searching.anchors, head(num_anchors=3, anchors=()).anchors)
    fixed = head()
    fixed.prepare(targets)
    assert torch.equal(fixed.anchors, torch.tensor(ANCHORS))


def test_too_few_boxes_leave_the_anchors_as_they_are() -> None:
    searching = head(num_anchors=3, anchors=())
    searching.prepare(np.array([[[0.5, 0.5, 0.2, 0.2, 0]]], np.float32))
    torch.testing.assert_close(searching.anchors, torch.tensor([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]))


@pytest.mark.parametrize("changed", [{"num_anchors": 3}, {"anchors": ((0.1, 0.0), (0.2, 0.2))}, {"nms_iou": 0}])
def test_parameters_that_contradict_each_other(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        head(**changed)


@pytest.mark.parametrize(("size", "factor"), [("exp", np.exp(0.5)), ("softplus", np.log1p(np.exp(0.5)))])
def test_what_the_raw_numbers_mean(size: str, factor: float) -> None:
    raw = torch.full((1, 2, 7, 2, 4), -20.0)
    raw[0, 1, :, 1, 2] = torch.tensor([0.0, 0.0, 0.5, 0.5, 20, -20, 20])
    candidates = head(2, size=size).decode(raw.flatten(1, 2))[0]
    assert len(candidates) == 2 * 8
    best = candidates[candidates[:, 0].argmax()]
    assert best[:2].tolist() == pytest.approx([1, 1])
    assert best[2:].tolist() == pytest.approx([2.5 / 4, 1.5 / 2, 0.4 * factor, 0.2 * factor])


def test_a_later_box_of_the_same_anchor_and_cell_takes_the_place() -> None:
    raw = torch.zeros(1, 12, 2, 4)
    first, second = [0.55, 0.75, 0.4, 0.2, 0.0], [0.6, 0.8, 0.39, 0.2, 0.0]
    both = head().loss_terms(raw, torch.tensor([[first, second]]))
    assert both == head().loss_terms(raw, torch.tensor([[second]]))
    other_anchor = [0.6, 0.8, 0.1, 0.3, 0.0]
    assert head().loss_terms(raw, torch.tensor([[first, other_anchor]]))["box"] != both["box"]


def test_with_simota_several_places_learn_a_box_and_none_learns_two() -> None:
    target = torch.tensor([[[0.5, 0.5, 0.4, 0.4, 0], [0.5, 0.5, 0.3, 0.4, 0], [-1, -1, -1, -1, -1]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.4, 0.38], [0.5, 0.5, 0.3, 0.39], [0.9, 0.9, 0.1, 0.1]]])
    # The overlaps sum to 2.7 and to 2.4, so that each target asks for two places; both ask for the first or the third.
    assert anchor._by_overlap(boxes, target, 1, 1).tolist() == [[0, 0, 1, -1]]
    far = torch.tensor([[[0.1, 0.1, 0.05, 0.05, 0]]])
    assert (anchor._by_overlap(boxes, far, 1, 1) >= 0).sum() == 1
