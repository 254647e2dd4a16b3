"""What a network learns from another: boxes one to one, their scores, nothing elsewhere; and maps of features."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from whc.models import distillation
from whc.models.boxes import BoxHead
from whc.models.distillation import LEAST_SCORE, boxes_apart, features_apart
from whc.models.heads import aligned, query

BOX = torch.tensor([0.5, 0.5, 0.4, 0.4])


class Given(BoxHead):
    """A head whose raw numbers (N, M, C + 4) are the scores and boxes themselves."""

    def loss_terms(self, raw: Tensor, targets: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def read(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return raw[..., :-4], raw[..., -4:]

    def decode(self, raw: Tensor) -> Tensor:
        raise NotImplementedError


def head(nms_iou: float | None = None) -> Given:
    built = Given()
    built.nms_iou = nms_iou
    return built


def found(*rows: tuple[float, int, Tensor]) -> Tensor:
    """A teacher's answer for one picture."""
    return torch.stack([torch.cat([torch.tensor([score, float(label)]), box]) for score, label, box in rows])[None]


def places(*rows: tuple[float, Tensor]) -> Tensor:
    """Places of one picture and one class."""
    return torch.stack([torch.cat([torch.tensor([score]), box]) for score, box in rows])[None].requires_grad_()


def gradient(raw: Tensor, teacher: Tensor, nms_iou: float | None = None) -> Tensor:
    boxes_apart(head(nms_iou), raw, teacher).backward()
    assert raw.grad is not None
    return raw.grad[0]


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 6))
def test_it_is_0_for_what_the_teacher_gives_and_above_for_all_else(seed: int, classes: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(2, count, generator=generator) * 0.8 + 0.1
    labels = torch.randint(classes, (2, count), generator=generator)
    boxes = torch.rand(2, count, 4, generator=generator) * 0.8 + 0.1
    teacher = torch.cat([scores[..., None], labels[..., None], boxes], 2)
    order = scores.argsort(1, descending=True)[..., None].expand_as(teacher)
    raw = torch.zeros(2, count, classes + 4)
    raw[..., -4:] = boxes
    raw.scatter_(2, labels[..., None], scores[..., None])
    shuffled = raw[:, torch.randperm(count, generator=generator)]
    assert boxes_apart(head(), shuffled, teacher.gather(1, order)).item() == pytest.approx(0, abs=1e-5)
    shuffled[0, 0, -2] += 0.05
    assert boxes_apart(head(), shuffled, teacher.gather(1, order)) > 1e-3


def test_gradient_moves_the_box_to_the_teacher_s_and_the_score_to_its_score() -> None:
    slopes = gradient(places((0.3, BOX + 0.05), (0.9, BOX - 0.3)), found((0.6, 0, BOX)))
    assert slopes[0, 0] < 0  # the score rises
    assert (slopes[0, 1:] > 0).all()  # the box moves back
    assert slopes[1, 0] > 0  # the other has no partner
    assert not slopes[1, 1:].any()
    assert gradient(places((0.8, BOX), (0.0, BOX - 0.3)), found((0.6, 0, BOX)))[0, 0] > 0  # it was too sure


def test_a_sure_box_teaches_more_than_one_in_doubt() -> None:
    far = torch.tensor([0.3, 0.3, 0.0, 0.0])
    slopes = gradient(places((0.5, BOX + 0.05), (0.5, BOX + far + 0.05)), found((0.9, 0, BOX), (0.2, 0, BOX + far)))
    torch.testing.assert_close(slopes[0, 1:], 4.5 * slopes[1, 1:])
    assert slopes[0, 1:].any()


def test_boxes_of_nearly_no_score_and_missing_ones_teach_nothing() -> None:
    sure, missing = (0.6, 0, BOX), (0.0, -1, torch.zeros(4))
    raw = places((0.3, BOX + 0.05), (0.1, BOX - 0.3))
    alone = boxes_apart(head(), raw, found(sure))
    assert torch.equal(boxes_apart(head(), raw, found(sure, (LEAST_SCORE / 2, 0, BOX - 0.3), missing)), alone)
    nothing = boxes_apart(head(), raw, found(missing))
    assert nothing > 0
    assert boxes_apart(head(), places((0.0, BOX)), found(missing)).item() == 0


def test_each_place_learns_one_box() -> None:
    """Of two places on one object the better learns it; with two objects all pairs together cost least."""
    slopes = gradient(places((0.5, BOX), (0.5, BOX + 0.01)), found((0.9, 0, BOX)))
    assert slopes[0, 0] < 0 < slopes[1, 0]
    costs = torch.tensor([[[0.0, 1.0], [0.5, 3.0], [0.0, 0.0]]])
    pairs = distillation._cheapest(costs, torch.tensor([[True, True, False]]))
    assert [part.tolist() for part in pairs] == [[0, 0], [0, 1], [1, 0]]


def test_what_decoding_removes_as_a_duplicate_is_left_alone() -> None:
    raw = (0.5, BOX), (0.5, BOX + 0.01), (0.5, BOX - 0.3)
    slopes = gradient(places(*raw), found((0.9, 0, BOX)), nms_iou=0.5)
    assert slopes[0, 0] < 0
    assert slopes[1, 0] == 0
    assert slopes[2, 0] > 0


def test_the_class_of_the_teacher_is_learnt() -> None:
    raw = torch.cat([torch.tensor([0.6, 0.2]), BOX])[None, None].requires_grad_()
    slopes = gradient(raw, found((0.9, 1, BOX)))
    assert slopes[0, 1] < 0 < slopes[0, 0]


def test_more_boxes_than_places() -> None:
    slopes = gradient(places((0.5, BOX)), found((0.9, 0, BOX), (0.8, 0, BOX - 0.3)))
    assert slopes.isfinite().all()


def test_a_teacher_of_another_head_and_size_teaches() -> None:
    """Cells learn from queries' answers: raw numbers alone are trained until they give the teacher's boxes."""
    torch.manual_seed(0)
    teacher = query.build(query.Config(queries=3), 8, (2, 2), 0.0, 1).eval()
    learner = aligned.build(aligned.Config(upscale=1), 8, (4, 4), 0.0, 1)
    assert isinstance(teacher, BoxHead)
    assert isinstance(learner, BoxHead)
    with torch.no_grad():
        answer = teacher.decode(teacher(torch.rand(2, 8, 2, 2)))
    raw = torch.randn(2, 5, 4, 4, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.1)
    before = boxes_apart(learner, raw, answer).item()
    for _ in range(300):
        optimizer.zero_grad()
        boxes_apart(learner, raw, answer).backward()
        optimizer.step()
    assert boxes_apart(learner, raw, answer).item() < before / 10


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_features_differ_by_direction_alone(seed: int, factor: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    ours, theirs = torch.randn(2, 2, 6, 4, 4, generator=generator)
    apart = features_apart(ours, theirs)
    torch.testing.assert_close(features_apart(factor * ours, theirs), apart)
    torch.testing.assert_close(features_apart(ours, factor * ours), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert 0 < apart < 2


def test_the_teacher_s_map_is_resized() -> None:
    theirs = torch.randn(1, 6, 1, 1)
    assert features_apart(theirs.expand(-1, -1, 3, 5), theirs).item() == pytest.approx(0, abs=1e-6)
