"""Every task, for two labels and for three: what networks give for it, how that is scored, and what it means."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from whc import plugins

KIND = "tasks"
TWO, THREE = ("still", "waving"), ("left", "right", "none")

Labels = tuple[str, ...]

pytestmark = [
    pytest.mark.parametrize("name", plugins.names(KIND)),
    pytest.mark.parametrize("labels", [TWO, THREE], ids=["two", "three"]),
]


@pytest.fixture
def task(name: str) -> Any:
    return plugins.load(KIND, name)


@pytest.fixture
def class_ids(labels: Labels) -> NDArray[np.int64]:
    """Fifty rows, every class among them."""
    return np.random.default_rng(0).integers(0, len(labels), 50)


@pytest.fixture
def values(task: Any, labels: Labels) -> NDArray[np.float32]:
    """Fifty outputs of an untrained network."""
    logits = torch.randn(50, task.outputs(labels), generator=torch.Generator().manual_seed(0))
    outputs: NDArray[np.float32] = task.probabilities(logits * 3).numpy()
    return outputs


def test_config(name: str, labels: Labels, check_config: Callable[[str, str], None]) -> None:
    del labels
    check_config(KIND, name)


def test_no_torch_is_needed_to_score_and_decode(name: str, labels: Labels) -> None:
    code = f"""
import sys
import numpy as np
from whc import plugins
task, labels = plugins.load({KIND!r}, {name!r}), {labels!r}
class_ids = np.arange(len(labels))
output = np.ones((len(labels), task.outputs(labels)), np.float32).squeeze()
task.output_name(labels), task.columns(labels), task.positive_label(labels)
task.constant_score(class_ids)
task.decode(output[0], labels, 0.5)
for judge in (task.score, task.confusion):
    judge(output, class_ids, 0.5)
for judge in (task.called, task.margin):
    judge(output, 0.5)
task.best_threshold(output, class_ids)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_output_s_name_fits_onnx(task: Any, labels: Labels) -> None:
    name = task.output_name(labels)
    assert name.isidentifier()
    assert name.startswith("prob")


def test_every_number_of_an_output_has_a_name(task: Any, labels: Labels, values: NDArray[np.float32]) -> None:
    names = task.columns(labels)
    assert len(values.reshape(50, -1)[0]) == len(names) == len(set(names))
    assert all(any(label in name for label in labels) for name in names)


def test_probabilities(values: NDArray[np.float32], labels: Labels) -> None:
    assert len(values) == 50
    assert 0 <= values.min() <= values.max() <= 1
    if values.ndim > 1:
        assert values.shape == (50, len(labels))
        np.testing.assert_allclose(values.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_loss_falls_towards_the_truth(
    task: Any, labels: Labels, class_ids: NDArray[np.int64], label_smoothing: float
) -> None:
    targets, weights = torch.from_numpy(class_ids), torch.arange(1.0, 1 + len(labels))
    logits = torch.zeros(50, task.outputs(labels), requires_grad=True)
    before = task.loss(logits, targets, weights, label_smoothing)
    assert before.shape == ()
    assert before > 0
    (gradient,) = torch.autograd.grad(before, logits)
    logits = logits - 50 * gradient
    assert task.loss(logits, targets, weights, label_smoothing) < before
    assert (task.called(task.probabilities(logits).detach().numpy(), 0.5) == class_ids).all()


def test_a_heavier_class_costs_more(task: Any, labels: Labels) -> None:
    """Where a network is wrong about the last class and right about the others."""
    logits = torch.zeros(len(labels), task.outputs(labels))
    logits[:, -1] = -2.0
    targets, even = torch.arange(len(labels)), torch.ones(len(labels))
    heavier = even.clone()
    heavier[-1] = 4.0
    assert task.loss(logits, targets, heavier) > task.loss(logits, targets, even)


def test_scores_lie_within_zero_and_one(
    task: Any, class_ids: NDArray[np.int64], values: NDArray[np.float32], labels: Labels
) -> None:
    del labels
    for value in (task.score(values, class_ids, 0.5), task.constant_score(class_ids)):
        assert isinstance(value, float)
        assert 0 <= value <= 1


def test_the_best_threshold_is_none_or_no_worse_than_half(
    task: Any, class_ids: NDArray[np.int64], values: NDArray[np.float32], labels: Labels
) -> None:
    best = task.best_threshold(values, class_ids)
    if best is None:
        assert not task.positive_label(labels)
        return
    assert 0 < best < 1
    assert task.score(values, class_ids, best) >= task.score(values, class_ids, 0.5)


def test_confusion_agrees_with_what_is_called(
    task: Any, class_ids: NDArray[np.int64], values: NDArray[np.float32], labels: Labels
) -> None:
    counts = task.confusion(values, class_ids, 0.5)
    assert counts.shape == (len(labels), len(labels))
    assert counts.sum() == 50
    assert np.trace(counts) == (task.called(values, 0.5) == class_ids).sum()
    assert task.score_of(counts) == task.score(values, class_ids, 0.5)
    assert task.score_of(np.stack([counts, 2 * counts])).tolist() == [task.score_of(counts)] * 2


def test_a_decision_names_the_label_that_is_called(task: Any, values: NDArray[np.float32], labels: Labels) -> None:
    for class_id, value in zip(task.called(values, 0.5), values, strict=True):
        decision = task.decode(value, labels, 0.5)
        assert decision.label == labels[class_id]
        assert 0 <= decision.probability <= 1
        assert decision.positive == (decision.label == task.positive_label(labels))
