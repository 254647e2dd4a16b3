"""Judging of boxes: against pycocotools and the original's own figure, and by laws that hold for any boxes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whc.tasks.detection.constant import constant_answer, floor
from whc.tasks.detection.judging import (
    RECALLS,
    SIZES,
    STRICT_OVERLAPS,
    best_threshold,
    counted,
    details,
    false_alarms,
    judge,
    parts,
)
from whc.tasks.detection.matching import EVERY_AREA, Area, match
from whc.tasks.detection.original import original_map

SIDE = 1000.0  # pixels of a picture, for pycocotools
TOLERANCE = 1e-3
Arrays = tuple[np.ndarray, np.ndarray]

PEERS = (
    "centernet_w32_s16",
    "centernet_w16_s4_skip_ese_3cls",
    "anchor5_w64_s16_se_skip",
    "detr_d64_l3",
    "detr_fpn_d64_l3",
)


def outputs_of(pictures: Sequence[Sequence[Sequence[float]]], rows: int = 0) -> np.ndarray:
    """Padded outputs from rows of score, class, cx, cy, w, h."""
    outputs = np.zeros((len(pictures), max(rows, *map(len, pictures)), 6), np.float32)
    outputs[..., 1] = -1
    for i, boxes in enumerate(pictures):
        if len(boxes):
            outputs[i, : len(boxes)] = sorted(boxes, key=lambda row: -row[0])
    return outputs


def targets_of(pictures: Sequence[Sequence[Sequence[float]]], rows: int = 0) -> np.ndarray:
    """Padded targets from rows of cx, cy, w, h, class."""
    targets = np.full((len(pictures), max(rows, *map(len, pictures)), 5), -1, np.float32)
    for i, boxes in enumerate(pictures):
        if len(boxes):
            targets[i, : len(boxes)] = boxes
    return targets


def scenes(seed: int, classes: int, pictures: int = 60, crowd: int = 12, digits: int = 7) -> Arrays:
    """Random boxes of all sizes, found more or less well, some twice, some wrong, some as another class."""
    rng = np.random.default_rng(seed)
    found: list[list[list[float]]] = []
    true: list[list[list[float]]] = []
    for _ in range(pictures):
        count = rng.integers(0, crowd) if rng.random() < 0.75 else 0
        boxes = np.column_stack([rng.uniform(0.1, 0.9, (count, 2)), np.exp(rng.uniform(-4, -0.5, (count, 2)))])
        class_ids = rng.integers(0, classes, count)
        true.append([[*box, class_id] for box, class_id in zip(boxes.tolist(), class_ids, strict=True)])
        rows = []
        for box, class_id in zip(boxes, class_ids, strict=True):
            for _ in range(rng.integers(0, 3)):
                moved = box + rng.normal(0, 0.1, 4) * np.tile(box[2:], 2)
                called = class_id if rng.random() < 0.8 else rng.integers(0, classes)
                rows.append([round(rng.beta(3, 2), digits), called, *moved])
        for _ in range(rng.integers(0, 6)):
            box = [*rng.uniform(0.1, 0.9, 2), *np.exp(rng.uniform(-4, -0.5, 2))]
            rows.append([round(rng.beta(2, 4), digits), rng.integers(0, classes), *box])
        found.append(rows)
    return outputs_of(found), targets_of(true)


def coco_precision(
    outputs: np.ndarray, targets: np.ndarray, classes: int, overlaps: Sequence[float] = (0.5,), area: Area = EVERY_AREA
) -> np.ndarray:
    """AP (C,) by pycocotools, -1 of a class without truth."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")

    def corners(box: np.ndarray) -> list[float]:
        cx, cy, width, height = box.astype(np.float64).tolist()
        return [(cx - width / 2) * SIDE, (cy - height / 2) * SIDE, width * SIDE, height * SIDE]

    truths = [
        {"image_id": i, "category_id": int(row[4]), "bbox": corners(row[:4]), "iscrowd": 0}
        for i, rows in enumerate(targets)
        for row in rows[rows[:, 4] >= 0]
    ]
    for number, truth in enumerate(truths, 1):
        truth |= {"id": number, "area": truth["bbox"][2] * truth["bbox"][3]}
    ground = coco.COCO()
    ground.dataset = {
        "images": [{"id": i, "width": SIDE, "height": SIDE} for i in range(len(targets))],
        "categories": [{"id": i} for i in range(classes)],
        "annotations": truths,
    }
    ground.createIndex()
    found = [
        {"image_id": i, "category_id": int(row[1]), "bbox": corners(row[2:]), "score": float(row[0])}
        for i, rows in enumerate(outputs)
        for row in rows[rows[:, 0] > 0.001]
    ]
    evaluation = cocoeval.COCOeval(ground, ground.loadRes(found), "bbox")
    evaluation.params.iouThrs = np.array(overlaps)
    evaluation.params.areaRng = [[area[0] * SIDE**2, min(area[1], 1e5) * SIDE**2]]
    evaluation.params.areaRngLbl = ["all"]
    evaluation.params.maxDets = [100]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # thresholds, recalls, classes
    return np.asarray(precision.mean((0, 1)))


def mean_precision(precision: np.ndarray) -> float:
    """The mean over the classes that have truth."""
    return float(precision[precision > -1].mean())


CASES = [(0, 1, 8), (1, 3, 12), (2, 5, 40), (3, 2, 3)]


@pytest.mark.parametrize(("seed", "classes", "crowd"), CASES)
def test_average_precision_is_that_of_pycocotools(seed: int, classes: int, crowd: int) -> None:
    outputs, targets = scenes(seed, classes, crowd=crowd)
    labels = [f"class {i}" for i in range(classes)]
    by_class = coco_precision(outputs, targets, classes)
    assert 0.1 < mean_precision(by_class) < 0.9
    assert judge(outputs, targets, classes).score() == pytest.approx(mean_precision(by_class), abs=TOLERANCE)
    all_parts = parts(outputs, targets, labels)
    strict = mean_precision(coco_precision(outputs, targets, classes, STRICT_OVERLAPS))
    assert all_parts["AP50:95"].score() == pytest.approx(strict, abs=TOLERANCE)
    for name, area in SIZES.items():
        theirs = mean_precision(coco_precision(outputs, targets, classes, area=area))
        assert all_parts[name].score() == pytest.approx(theirs, abs=TOLERANCE), name
    assert set(labels).issubset(all_parts) == (classes > 1)
    for i, name in enumerate(labels if classes > 1 else []):
        assert all_parts[name].score() == pytest.approx(by_class[i], abs=TOLERANCE)


def test_a_class_without_truth_does_not_count() -> None:
    outputs, targets = scenes(0, 2)
    assert judge(outputs, targets, 4).score() == pytest.approx(float(judge(outputs, targets, 2).score()))
    assert mean_precision(coco_precision(outputs, targets, 4)) == pytest.approx(
        float(judge(outputs, targets, 4).score()), abs=TOLERANCE
    )
    assert np.isnan(parts(outputs, targets, ["a", "b", "c"])["c"].score())


def test_equal_scores_come_in_together_the_wrong_ones_first() -> None:
    """Of many boxes with the same score, the figure is the one of pycocotools if it sees the wrong ones first."""
    outputs, targets = scenes(5, 2, digits=1)
    for rows in outputs:
        is_box = rows[:, 1] >= 0
        rows[is_box, 0] -= np.arange(is_box.sum()) * 1e-3  # within a picture the order is that of matching
    outputs[..., 0] = np.maximum(outputs[..., 0], 0)
    assert len(np.unique(outputs[..., 0])) < (outputs[..., 0] > 0).sum() / 2
    ours = float(judge(outputs, targets, 2).score())
    nudged = outputs.astype(np.float64)
    nudged[..., 0] -= 1e-5 * (match(outputs, targets).partner[0] >= 0)
    assert ours == pytest.approx(mean_precision(coco_precision(nudged, targets, 2)), abs=1e-9)
    any_order = mean_precision(coco_precision(outputs, targets, 2))
    assert ours <= any_order <= ours + 0.02


def test_curves_have_the_score_as_their_area() -> None:
    outputs, targets = scenes(1, 3)
    detections = judge(outputs, targets, 3)
    curves = np.stack([detections.curve(i) for i in range(3)])
    assert curves.shape == (3, len(RECALLS))
    assert curves.mean() == pytest.approx(float(detections.score()))
    assert (np.diff(curves, axis=1) <= 0).all()


@pytest.mark.parametrize("name", PEERS)
def test_the_original_s_own_figure(shared: Path, name: str) -> None:
    golden = json.loads((shared / "peer/uhd/golden.json").read_text())[name]
    theirs = np.load(shared / f"peer/uhd/{name}.npz")
    classes = golden["build"]["num_classes"]
    ours = original_map(theirs["decoded"], theirs["mapgt"], classes, golden["conf"])
    assert ours == pytest.approx(golden["map_mAP@0.5"], abs=1e-8)


def test_the_original_s_figure_of_outputs_is_that_of_rows() -> None:
    outputs, targets = scenes(1, 3)
    found = [(i, *row) for i, rows in enumerate(outputs) for row in rows if row[1] >= 0]
    true = [(i, row[4], *row[:4]) for i, rows in enumerate(targets) for row in rows if row[4] >= 0]
    figure = original_map(outputs, targets, 3, 0.15)
    assert figure == pytest.approx(original_map(np.array(found), np.array(true), 3, 0.15))
    assert figure < original_map(outputs, targets, 3, 0.0)
    assert original_map(outputs, targets, 4, 0.15) == pytest.approx(figure * 3 / 4)


# Laws. Coordinates on a coarse grid: equal scores, boxes and overlaps of exactly a half are common.

GRID = st.integers(1, 7).map(lambda value: value / 8)
CLASS_IDS = st.integers(0, 1)
TRUE_ROWS = st.lists(st.tuples(GRID, GRID, GRID, GRID, CLASS_IDS), max_size=4)
FOUND_ROWS = st.lists(st.tuples(GRID, CLASS_IDS, GRID, GRID, GRID, GRID), max_size=5)
SCENES = st.lists(st.tuples(FOUND_ROWS, TRUE_ROWS), min_size=1, max_size=5).map(
    lambda pictures: (outputs_of([found for found, _ in pictures], 6), targets_of([true for _, true in pictures], 4))
)


def score(outputs: np.ndarray, targets: np.ndarray) -> float:
    return float(judge(outputs, targets, 2).score())


@given(SCENES)
def test_scores_lie_within_zero_and_one(scene: Arrays) -> None:
    outputs, targets = scene
    figures = [score(outputs, targets), *(float(part.score()) for part in parts(outputs, targets, "ab").values())]
    assert all(0 <= figure <= 1 for figure in figures if not np.isnan(figure))
    assert np.isnan(figures[0]) == (targets[..., 4] < 0).all()


@given(SCENES)
def test_what_is_true_scores_one(scene: Arrays) -> None:
    _, targets = scene
    is_true = targets[..., 4:] >= 0
    outputs = np.where(is_true, np.concatenate([is_true, targets[..., 4:], targets[..., :4]], axis=2), 0)
    for figure in (score(outputs, targets), *(float(p.score()) for p in parts(outputs, targets, "ab").values())):
        assert np.isnan(figure) or figure == 1
    assert false_alarms(outputs, targets, 0.5)[0] == 0


@given(SCENES, GRID, st.sampled_from([-1.0, 0.0, 1.0]))
def test_a_wrong_box_never_helps_and_the_last_one_never_matters(scene: Arrays, value: float, class_id: float) -> None:
    outputs, targets = scene
    before = score(outputs, targets)
    if np.isnan(before):
        return
    for wrong_score in (value, 1 / 16):  # every other box has at least an eighth
        more = outputs.copy()
        more[0, -1] = [wrong_score, class_id, 30, 30, 0.5, 0.5]
        after = score(more, targets)
        assert after <= before
        assert wrong_score > 1 / 16 or after == before


@given(SCENES, GRID, CLASS_IDS)
def test_a_last_box_never_costs_anything(scene: Arrays, place: float, class_id: int) -> None:
    outputs, targets = scene
    more = outputs.copy()
    more[0, -1] = [1 / 16, class_id, place, 0.5, 0.25, 0.5]
    assert np.isnan(score(outputs, targets)) or score(more, targets) >= score(outputs, targets)


@given(SCENES, st.randoms(use_true_random=False))
def test_the_order_of_pictures_does_not_matter(scene: Arrays, random: Any) -> None:
    outputs, targets = scene
    order = list(range(len(outputs)))
    random.shuffle(order)
    np.testing.assert_allclose(score(outputs[order], targets[order]), score(outputs, targets), atol=1e-12)


@given(SCENES, st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_weights_are_pictures_taken_again(scene: Arrays, times: list[int]) -> None:
    outputs, targets = scene
    weights = np.array([times[: len(outputs)], [1] * len(outputs)])
    for name, part in {"": judge(outputs, targets, 2), **parts(outputs, targets, "ab")}.items():
        drawn, plain = part.score(weights)
        np.testing.assert_allclose(plain, part.score(), atol=1e-12)
        again, true_again = (np.repeat(rows, weights[0], axis=0) for rows in (outputs, targets))
        repeated = parts(again, true_again, "ab")[name] if name else judge(again, true_again, 2)
        np.testing.assert_allclose(drawn, repeated.score(), atol=1e-12)


def test_many_weightings_are_judged_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, targets = scenes(1, 3)
    weights = np.random.default_rng(0).integers(0, 3, (50, len(outputs))).astype(np.float64)
    at_once = judge(outputs, targets, 3).score(weights)
    monkeypatch.setattr("whc.tasks.detection.judging.MAX_NUMBERS", 1000)
    monkeypatch.setattr("whc.tasks.detection.matching.MAX_OVERLAPS", 200)
    np.testing.assert_allclose(judge(outputs, targets, 3).score(weights), at_once)
    assert at_once.shape == (50,)


def test_rows_and_columns_may_be_in_any_order_and_empty() -> None:
    outputs, targets = scenes(1, 3)
    rng = np.random.default_rng(0)
    mixed, mixed_targets = rng.permuted(np.arange(outputs.shape[1])), rng.permuted(np.arange(targets.shape[1]))
    assert score(outputs[:, mixed], targets[:, mixed_targets]) == pytest.approx(score(outputs, targets))
    ours, again = match(outputs, targets).partner[0], match(outputs[:, mixed], targets[:, mixed_targets]).partner[0]
    np.testing.assert_array_equal(np.where(again < 0, -1, mixed_targets[again]), ours[:, mixed])
    assert np.isnan(score(outputs, targets[:, :0]))
    assert score(outputs[:, :0], targets) == 0
    assert judge(outputs[:0], targets[:0], 2).score(np.ones((3, 0))).shape == (3,)


def test_a_box_takes_the_free_one_that_it_overlaps_most() -> None:
    true = [[0.5, 0.5, 0.4, 0.4, 0], [0.54, 0.5, 0.4, 0.4, 0], [0.5, 0.5, 0.4, 0.4, 1]]
    found = [[0.9, 0, 0.53, 0.5, 0.4, 0.4], [0.8, 0, 0.55, 0.5, 0.4, 0.4], [0.7, 0, 0.54, 0.5, 0.4, 0.4]]
    assert match(outputs_of([found]), targets_of([true])).partner.tolist() == [[[1, 0, -1]]]
    assert match(outputs_of([found]), targets_of([true]), (0.5, 0.85)).partner.tolist()[1] == [[1, -1, -1]]


def test_a_large_validation_split_is_judged_at_once() -> None:
    """It happens after each epoch: 3,400 pictures of 50 boxes take less than 0.1 s of a processor, where it is idle."""
    outputs, targets = scenes(0, 1, pictures=100, crowd=4)
    boxes = np.resize(outputs[outputs[..., 1] >= 0], (3400, 50, 6))
    boxes[..., 0] = -np.sort(-np.random.default_rng(0).random((3400, 50)), axis=1)
    truths = np.resize(targets, (3400, *targets.shape[1:]))
    start = process_time()
    assert judge(boxes, truths, 1).score() > 0
    assert process_time() - start < 0.5


def test_numpy_is_enough_to_judge() -> None:
    names = "constant", "drawing", "judging", "matching", "original"
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module("whc.tasks.detection." + name)
assert not {{"torch", "scipy", "matplotlib", "pandas"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# At a threshold.


@given(SCENES)
def test_no_threshold_has_a_better_f1(scene: Arrays) -> None:
    outputs, targets = scene
    detections, best = judge(outputs, targets, 2), best_threshold(outputs, targets, 2)
    highest = detections.scores.max(initial=best)
    tried = {threshold: counted(detections, threshold).f1 or 0 for threshold in (*np.arange(1, 9) / 8, best)}
    assert tried[best] == max(tried.values())
    assert best == max(threshold for threshold, f1 in tried.items() if f1 == tried[best] and threshold <= highest)


def test_false_alarms_are_counted_a_picture() -> None:
    box = [0.5, 0.5, 0.2, 0.2]
    outputs = outputs_of([[[0.9, 0, *box], [0.8, 0, *box]], [[0.7, 0, *box], [0.3, 0, *box]], []])
    targets = targets_of([[[*box, 0]], [], []])
    assert false_alarms(outputs, targets, 0.5) == pytest.approx((2 / 3, 1 / 2))
    assert false_alarms(outputs, targets, 0.2) == pytest.approx((1, 1))
    assert np.isnan(false_alarms(outputs[:1], targets[:1], 0.5)[1])


def test_details_are_json() -> None:
    outputs, targets = scenes(1, 3)
    told = details(outputs, targets, "abc", 0.5)
    assert told == json.loads(json.dumps(told, allow_nan=False))
    assert told["ap50"] == float(judge(outputs, targets, 3).score())
    assert told["f1"] == pytest.approx(2 / (1 / told["precision"] + 1 / told["recall"]))
    assert told["true_boxes"] == (targets[..., 4] >= 0).sum()
    assert set(told["ap50_by_label"]) == set(told["precision_at_101_recalls"]) == set("abc")
    empty = details(outputs[:, :0], targets[:, :0], "a", 0.5)
    assert empty == json.loads(json.dumps(empty, allow_nan=False))
    assert (empty["ap50"], empty["precision"], empty["recall"], empty["f1"]) == (None,) * 4
    assert empty["pictures_without_objects"] == len(targets)


# The best constant answer.


@settings(max_examples=30)
@given(SCENES)
def test_the_best_constant_answer_is_found_again(scene: Arrays) -> None:
    _, targets = scene
    figure = floor(targets, 2)
    assert np.isnan(figure) == (targets[..., 4] < 0).all()
    if not np.isnan(figure):
        assert 0 <= figure <= 1
        assert floor(targets, 2) == figure
        answer = constant_answer(targets, 2)
        assert (np.diff(answer[:, 0]) <= 0).all()
        assert (answer[:, 0] > 0.001).all()
        assert len(answer) <= 100
        assert figure == score(np.repeat(answer[None], len(targets), axis=0), targets)


def test_the_same_boxes_everywhere_are_found_everywhere() -> None:
    true = [[0.3, 0.3, 0.2, 0.4, 0], [0.7, 0.6, 0.1, 0.1, 0], [0.5, 0.5, 0.5, 0.5, 1]]
    assert floor(targets_of([true] * 5), 2) == 1


def test_the_floor_is_above_the_median_box() -> None:
    _, targets = scenes(1, 1, crowd=2)
    median = np.median(targets[targets[..., 4] >= 0][:, :4], axis=0)
    constant = np.broadcast_to(np.array([1, 0, *median], np.float32), (len(targets), 1, 6))
    assert score(constant, targets) < floor(targets, 1) < 0.5
