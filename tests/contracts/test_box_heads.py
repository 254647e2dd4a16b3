"""Every head that gives boxes: (N, channels, h, w) to one tensor, with its own loss and decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from whc import plugins
from whc.export import onnx as onnx_exporter
from whc.models.boxes import BoxHead, best, iou
from whc.models.distillation import boxes_apart

KIND = "models.heads"
NAMES = [name for name in plugins.names(KIND) if getattr(plugins.load(KIND, name), "GIVES", "numbers") == "boxes"]
SIZE = (4, 6)

pytestmark = pytest.mark.parametrize("name", NAMES)


def build(
    name: str, channels: int = 8, size: tuple[int, int] = SIZE, classes: int = 2, dropout: float = 0.0
) -> BoxHead:
    module: Any = plugins.load(KIND, name)
    head: BoxHead = module.build(module.Config(), channels, size, dropout, classes)
    return head


def targets(classes: int = 2) -> Tensor:
    """Three pictures: two boxes, none, one box; of different cells and shapes."""
    rows = torch.full((3, 4, 5), -1.0)
    rows[0, 0] = torch.tensor([0.3, 0.4, 0.2, 0.5, 0])
    rows[0, 1] = torch.tensor([0.71, 0.66, 0.4, 0.3, classes - 1])
    rows[2, 0] = torch.tensor([0.5, 0.12, 0.1, 0.1, classes - 1])
    return rows


def raw_numbers(head: nn.Module, count: int = 3) -> Tensor:
    with torch.no_grad():
        raw: Tensor = head(torch.rand(count, 8, *SIZE))
    return raw


def test_config(name: str, check_config: Callable[[str, str], None]) -> None:
    check_config(KIND, name)


@pytest.mark.parametrize(("channels", "size", "classes"), [(8, (4, 6), 1), (8, (7, 3), 3), (16, (1, 1), 2)])
def test_shapes(name: str, channels: int, size: tuple[int, int], classes: int) -> None:
    head = build(name, channels, size, classes).eval()
    raw = head(torch.rand(5, channels, *size))
    assert isinstance(raw, Tensor)
    assert len(raw) == 5
    candidates = head.decode(raw)
    assert candidates.ndim == 3
    assert (candidates.shape[0], candidates.shape[2]) == (5, 6)
    assert candidates.isfinite().all()
    scores, labels = candidates[..., 0], candidates[..., 1]
    assert ((scores >= 0) & (scores <= 1)).all()
    assert set(labels.unique().tolist()) <= set(range(classes))


def test_gradients_reach_every_parameter_and_the_features(name: str) -> None:
    torch.manual_seed(0)
    head = build(name, dropout=0.1).train()
    features = torch.rand(3, 8, *SIZE, requires_grad=True)
    head.loss(head(features), targets()).backward()
    assert features.grad is not None
    assert features.grad.any()
    for parameter_name, parameter in head.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


def test_the_loss_is_the_weighted_sum_of_its_terms(name: str) -> None:
    head = build(name).eval()
    raw = raw_numbers(head)
    terms = head.loss_terms(raw, targets())
    assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
    assert head.LOSS_WEIGHTS.keys() <= terms.keys()
    expected = sum(float(term) * head.LOSS_WEIGHTS.get(key, 1) for key, term in terms.items())
    assert head.loss(raw, targets()).item() == pytest.approx(expected, rel=1e-5)


def test_missing_boxes_teach_nothing(name: str) -> None:
    head = build(name).eval()
    raw = raw_numbers(head)
    more = torch.cat([targets(), torch.full((3, 5, 5), -1.0)], 1)
    torch.testing.assert_close(head.loss(raw, targets()), head.loss(raw, more))
    raw.requires_grad_()
    loss = head.loss(raw, torch.full((3, 2, 5), -1.0))
    loss.backward()
    assert loss.isfinite()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


def test_what_has_no_loss_left_decodes_to_the_boxes(name: str) -> None:
    torch.manual_seed(0)
    head = build(name).eval()
    raw = raw_numbers(head).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.2)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    before = head.loss(raw, targets()).item()
    for _ in range(600):
        optimizer.zero_grad()
        head.loss(raw, targets()).backward()
        optimizer.step()
        schedule.step()
    assert head.loss(raw, targets()).item() < before / 4
    found = best(head.decode(raw.detach()), 4, head.nms_iou)
    for rows, boxes in zip(targets(), found, strict=True):
        true = rows[rows[:, 4] >= 0]
        kept = boxes[boxes[:, 0] > 0.5]
        assert len(kept) == len(true)
        for box in true:
            overlaps = iou(kept[:, 2:], box[:4].expand(len(kept), 4))
            assert overlaps.max() > 0.95
            assert kept[overlaps.argmax(), 1] == box[4]


def test_decoding_treats_pictures_one_by_one(name: str) -> None:
    head = build(name).eval()
    raw = raw_numbers(head)
    together = best(head.decode(raw), 5, head.nms_iou)
    for i in range(len(raw)):
        torch.testing.assert_close(best(head.decode(raw[i : i + 1]), 5, head.nms_iou)[0], together[i])


def test_a_look_at_the_targets_leaves_a_head_that_works(name: str) -> None:
    head = build(name).eval()
    head.prepare(targets().numpy())
    head.prepare(np.full((4, 0, 5), -1, np.float32))
    assert head.loss(raw_numbers(head), targets()).isfinite()


def test_dropout_is_used_in_training_only(name: str) -> None:
    torch.manual_seed(0)
    head = build(name, dropout=0.9)
    features = torch.rand(4, 8, *SIZE)
    assert not torch.equal(head.train()(features), head(features))
    assert torch.equal(head.eval()(features), head(features))


def test_the_seed_decides_everything(name: str) -> None:
    def output(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return raw_numbers(build(name, dropout=0.3).train())

    assert torch.equal(output(1), output(1))
    assert not torch.equal(output(1), output(2))


class Detector(nn.Module):
    def __init__(self, head: BoxHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        return best(self.head.decode(self.head(features)), 7, self.head.nms_iou)


@pytest.mark.parametrize("classes", [1, 3])
def test_exported_with_its_decoding_it_gives_the_same_for_any_batch(name: str, classes: int) -> None:
    torch.manual_seed(0)
    detector = Detector(build(name, classes=classes)).eval()
    model = onnx_exporter._trace(detector, "detections", (8, *SIZE), {0: "batch"}, 18)
    simplified = onnx_exporter._without_traces(onnx_exporter._simplify(model, Path(name), (1, 8, *SIZE)))
    onnx_exporter._check(simplified, Path(name), {0: "batch"}, 18)
    session = onnxruntime.InferenceSession(simplified.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        features = torch.randn(count, 8, *SIZE) * 3
        (given,) = session.run(None, {"images": features.numpy()})
        assert given.shape == (count, 7, 6)
        np.testing.assert_allclose(given, detector(features).detach().numpy(), atol=1e-4)


def test_places_have_the_scores_and_boxes_that_are_decoded(name: str) -> None:
    head = build(name, classes=3).eval()
    raw = raw_numbers(head) * 3
    scores, boxes = head.read(raw)
    assert scores.shape[2] == 3
    assert scores.shape[:2] == boxes.shape[:2]
    for candidates, place_scores, place_boxes in zip(head.decode(raw), scores, boxes, strict=True):
        for candidate in candidates[::7]:
            is_own = (place_boxes - candidate[2:]).abs().amax(1) < 1e-6
            assert (place_scores[is_own, int(candidate[1])] - candidate[0]).abs().min() < 1e-6


def test_a_teacher_of_the_same_numbers_teaches_nothing_and_others_what_they_find(name: str) -> None:
    torch.manual_seed(0)
    head = build(name).eval()
    theirs = raw_numbers(head) * 4
    found = best(head.decode(theirs), 100, head.nms_iou)
    itself = boxes_apart(head, theirs, found).item()
    raw = raw_numbers(head).requires_grad_()
    before = boxes_apart(head, raw, found).item()
    assert itself < before / 10
    optimizer = torch.optim.Adam([raw], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        boxes_apart(head, raw, found).backward()
        optimizer.step()
    assert boxes_apart(head, raw, found).item() < before / 3
