"""Every task: what networks give for it, how that is scored, and what it means."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from whc import plugins

KIND = "tasks"
LABELS = ("still", "waving")

pytestmark = pytest.mark.parametrize("name", plugins.names(KIND))


@pytest.fixture
def task(name: str) -> Any:
    return plugins.load(KIND, name)


def test_config(name: str, check_config: Callable[[str, str], None]) -> None:
    check_config(KIND, name)


def test_no_torch_is_needed_to_score_and_decode(name: str) -> None:
    code = f"""
import sys
import numpy as np
from whc import plugins
task = plugins.load({KIND!r}, {name!r})
task.output_name({LABELS!r})
task.constant_score(np.array([0, 1]))
task.decode(0.5, {LABELS!r}, 0.5)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_output_s_name_fits_onnx(task: Any) -> None:
    name = task.output_name(LABELS)
    assert name.isidentifier()
    assert name.startswith("prob")


def test_probabilities(task: Any) -> None:
    values = task.probabilities(torch.randn(5, task.outputs(LABELS)) * 3)
    assert len(values) == 5
    assert 0 <= values.min() <= values.max() <= 1


def test_loss_falls_towards_the_truth(task: Any) -> None:
    class_ids = torch.tensor([0, 1, 1, 0])
    logits = torch.zeros(4, task.outputs(LABELS), requires_grad=True)
    before = task.loss(logits, class_ids, 1.0)
    assert before.shape == ()
    assert before > 0
    (gradient,) = torch.autograd.grad(before, logits)
    assert task.loss(logits - gradient, class_ids, 1.0) < before


def test_a_heavier_positive_class_costs_more(task: Any) -> None:
    logits, class_ids = torch.zeros(4, task.outputs(LABELS)), torch.tensor([0, 1, 1, 0])
    assert task.loss(logits, class_ids, 4.0) > task.loss(logits, class_ids, 1.0)


def test_scores_lie_within_zero_and_one(task: Any) -> None:
    rng = np.random.default_rng(0)
    class_ids = rng.integers(0, 2, 50)
    probabilities = task.probabilities(torch.from_numpy(rng.normal(size=(50, task.outputs(LABELS))))).numpy()
    for value in (task.score(probabilities, class_ids, 0.5), task.constant_score(class_ids)):
        assert isinstance(value, float)
        assert 0 <= value <= 1


def test_a_decision_names_a_label(task: Any) -> None:
    for probability in (0.0, 0.3, 0.5, 1.0):
        decision = task.decode(probability, LABELS, 0.5)
        assert decision.label in LABELS
        assert 0 <= decision.probability <= 1
