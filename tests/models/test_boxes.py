"""Boxes: how they overlap, and which are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from whc.export import onnx as onnx_exporter
from whc.models import boxes
from whc.models.boxes import IouKind, best, cells, corners, iou, is_last

NOTHING = [0.0, -1.0, 0.0, 0.0, 0.0, 0.0]


def random_candidates(seed: int, pictures: int = 3, count: int = 40, classes: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(pictures, count, 6, generator=generator)
    rows[..., 1] = (rows[..., 1] * classes).floor()
    rows[..., 4:] = rows[..., 4:] * 0.4 + 0.05
    return rows


def greedy(candidates: Tensor, max_boxes: int, nms_iou: float) -> Tensor:
    """Non-maximum suppression as its definition reads."""
    pictures = []
    for rows in candidates:
        kept: list[Tensor] = []
        for row in rows[rows[:, 0].argsort(descending=True)]:
            rivals = [other for other in kept if other[1] == row[1]]
            if all(iou(row[2:], other[2:]) <= nms_iou for other in rivals):
                kept.append(row)
        missing = [torch.tensor(NOTHING)] * max_boxes
        pictures.append(torch.stack([*kept, *missing][:max_boxes]))
    return torch.stack(pictures)


@pytest.mark.parametrize("kind", ["iou", "giou", "ciou"])
def test_overlaps_are_the_original_s(shared: Path, kind: IouKind) -> None:
    golden = np.load(shared / "peer/uhd/iou.npz")
    given_iou = iou(torch.from_numpy(golden["a"]), torch.from_numpy(golden["b"]), kind)
    np.testing.assert_allclose(given_iou.numpy(), golden[kind], atol=2e-6)


@given(seed=st.integers(0, 10**6))
def test_laws_of_overlaps(seed: int) -> None:
    a, b = random_candidates(seed, 2, 20)[..., 2:]
    plain, enclosed, complete = (iou(a, b, kind) for kind in ("iou", "giou", "ciou"))
    torch.testing.assert_close(plain, iou(b, a))
    assert ((plain >= 0) & (plain <= 1)).all()
    assert (enclosed <= plain + 1e-6).all()
    assert (enclosed >= -1).all()
    assert (complete <= plain + 1e-6).all()
    for kind in ("iou", "giou", "ciou"):
        torch.testing.assert_close(iou(a, a, kind), torch.ones(20), atol=1e-3, rtol=0)


def test_gradients_of_overlaps_are_finite_where_boxes_are_equal_apart_or_empty() -> None:
    a = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.0, 0.0]], requires_grad=True)
    b = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1], [0.5, 0.5, 0.0, 0.0]])
    for kind in ("iou", "giou", "ciou"):
        (gradient,) = torch.autograd.grad(iou(a, b, kind).sum(), a)
        assert gradient.isfinite().all()


def test_cells_hold_the_centres() -> None:
    rows = torch.tensor([[[0.0, 0.0, 1, 1, 0], [0.99, 0.5, 1, 1, 0], [1.0, 1.0, 1, 1, 0], [-1, -1, -1, -1, -1]]])
    cell, offset = cells(rows, 2, 4)
    assert cell.tolist() == [[0, 7, 7, 0]]
    restored = (corners(2, 4, rows)[cell] + offset) / torch.tensor([4, 2])
    torch.testing.assert_close(restored[:, :3], rows[:, :3, :2])


def test_the_last_of_equal_rows() -> None:
    keys = torch.tensor([[3, 5, 3, 3, 5]])
    present = torch.tensor([[True, True, True, False, False]])
    assert is_last(keys, present).tolist() == [[False, True, True, False, False]]


@given(seed=st.integers(0, 10**6), nms_iou=st.floats(0.1, 0.9), max_boxes=st.integers(1, 50))
@settings(max_examples=30)
def test_the_best_are_those_of_plain_suppression(seed: int, nms_iou: float, max_boxes: int) -> None:
    candidates = random_candidates(seed)
    boxes = candidates[..., 2:]
    overlaps = iou(boxes[:, :, None], boxes[:, None])
    assume(((overlaps - nms_iou).abs() > 1e-5).all())  # at the limit itself rounding decides
    torch.testing.assert_close(best(candidates, max_boxes, nms_iou), greedy(candidates, max_boxes, nms_iou))


def test_a_chain_of_duplicates_keeps_every_other_one() -> None:
    count = 60
    rows = torch.zeros(1, count, 6)
    rows[0, :, 0] = torch.linspace(0.9, 0.1, count)
    rows[0, :, 2] = torch.arange(count) * 0.1
    rows[0, :, 4:] = torch.tensor([0.3, 0.1])  # neighbours overlap by half, the next but one by a fifth
    kept = best(rows, count, 0.4)
    assert kept[0, :30, 2].tolist() == rows[0, ::2, 2].tolist()
    assert kept[0, 30:].tolist() == [NOTHING] * 30


def test_without_suppression_the_highest_are_kept_and_padded() -> None:
    candidates = random_candidates(0, 2, 5)
    given_rows = best(candidates, 8, None)
    for rows, all_rows in zip(given_rows, candidates, strict=True):
        assert torch.equal(rows[:5], all_rows[all_rows[:, 0].argsort(descending=True)])
        assert rows[5:].tolist() == [NOTHING] * 3
    assert torch.equal(best(candidates, 2, None), given_rows[:, :2])


def test_boxes_of_negative_size_overlap_nothing() -> None:
    rows = torch.tensor(
        [[[0.9, 0, 0.5, 0.5, -0.2, 0.2], [0.8, 0, 0.5, 0.5, -0.2, 0.2], [0.7, 0, 0.5, 0.5, -0.1, -0.1]]]
    )
    assert torch.equal(best(rows, 3, 0.5), rows)


def test_many_pictures_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = random_candidates(0, 7)
    together = best(candidates, 20, 0.5)
    monkeypatch.setattr(boxes, "_MOST_PAIRS", 2 * 40**2)
    assert torch.equal(best(candidates, 20, 0.5), together)


class Best(nn.Module):
    def __init__(self, one_class: bool) -> None:
        super().__init__()
        self.one_class = one_class

    def forward(self, candidates: Tensor) -> Tensor:
        return best(candidates, 30, 0.45, self.one_class)


@pytest.mark.parametrize("one_class", [False, True])
def test_exported_it_keeps_the_same(one_class: bool) -> None:
    model: Any = onnx_exporter._trace(Best(one_class), "detections", (40, 6), {0: "batch"}, 18)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for seed, pictures in enumerate((1, 2, 5, 9)):
        candidates = random_candidates(seed, pictures, classes=1 if one_class else seed + 1)
        (kept,) = session.run(None, {"images": candidates.numpy()})
        np.testing.assert_allclose(kept, greedy(candidates, 30, 0.45).numpy(), atol=1e-6)
