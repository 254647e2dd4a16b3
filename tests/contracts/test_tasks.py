"""Every task, on rows as it names them itself: reading, learning, judging, comparing and showing."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from whc import plugins, tasks
from whc.data import parquet
from whc.models.assemble import ModelConfig, build
from whc.tasks import Outputs, Targets, Task

KIND = "tasks"
ROWS = 60

pytestmark = pytest.mark.parametrize("name", plugins.names(KIND))


def labelled_rows(name: str) -> pd.DataFrame:
    """The task's own example rows, over and over."""
    example = tasks.kind(name).example_rows
    columns = {key: list(itertools.islice(itertools.cycle(values), ROWS)) for key, values in example.items()}
    empty = dict.fromkeys(tasks.kind(name).label_readers().keys() - columns.keys())
    return pd.DataFrame(columns).assign(split="train", **empty)


@pytest.fixture
def targets(name: str) -> Targets:
    return tasks.kind(name).read_rows(labelled_rows(name), tasks.kind(name).example_metadata, "rows").targets


def test_labels_can_be_drawn(name: str) -> None:
    """Whatever a file's labels are, the lines that show them begin and end at points."""
    for cells in labelled_rows(name).to_dict("records"):
        for start, end, colour in tasks.kind(name).label_strokes(cells):
            assert np.isfinite([*start, *end]).all()
            assert all(0 <= part <= 255 for part in colour)


@pytest.fixture
def task(name: str) -> Task:
    labels = tasks.kind(name).read_rows(labelled_rows(name), tasks.kind(name).example_metadata, "rows").labels
    return tasks.build(tasks.TASK_CHOICES.parse(name), labels)


@pytest.fixture
def network(task: Task) -> nn.Module:
    """A network that gives what the task needs."""
    heads = plugins.names("models.heads")
    head = next(name for name in heads if task.head_gives == plugins.load("models.heads", name).GIVES)
    config = ModelConfig.model_validate({"head": head, "width": 4, "depth": 1, "image_size": 16})
    return build(config, task.outputs).eval()


def raw_outputs(network: nn.Module, seed: int = 0) -> torch.Tensor:
    """What a network may give that has learnt something else."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        shape = network(torch.zeros(2, 3, 16, 16)).shape[1:]
    return 3 * torch.randn(ROWS, *shape, generator=generator)


@pytest.fixture
def outputs(task: Task, network: nn.Module) -> Outputs:
    decoded: Outputs = task.decoder(network)(raw_outputs(network)).numpy()
    return decoded


def test_config(name: str, check_config: Callable[[str, str], None]) -> None:
    check_config(KIND, name)


def test_no_torch_is_needed_to_judge_and_show(name: str) -> None:
    """Neither is pandas or Arrow: the demo starts without them."""
    code = f"""
import sys
import numpy as np
from whc import tasks
task = tasks.build(tasks.TASK_CHOICES.parse({name!r}), {tasks.build(tasks.TASK_CHOICES.parse(name), None).labels!r})
output = np.full((2, *task.output_shape), 0.5, np.float32)
task.check_outputs(output), task.answer_counts(output), task.disagreement(output, output)
task.cells(output[0, ...]), task.frame_cells(output[0, ...]), task.reading(output[0, ...])
assert not {{"torch", "pandas", "pyarrow"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_rows_are_read_as_numbers(name: str, task: Task) -> None:
    rows = task.read_rows(labelled_rows(name), tasks.kind(name).example_metadata, "rows")
    assert len(rows.targets) == len(rows.strata) == ROWS
    assert rows.strata.min() >= 0
    assert rows.strata.max() < len(rows.strata_names) == len(set(rows.strata_names))
    assert rows.labels == task.labels
    assert not task.check_labels()


def test_columns_of_labels_have_readers(name: str) -> None:
    kind = tasks.kind(name)
    readers = kind.label_readers()
    assert set(kind.example_rows) <= readers.keys()
    assert set(kind.required_columns) <= readers.keys()
    assert tasks.of_columns(("split", "image_bytes", *kind.example_rows), "example") is kind
    for column, (words, reader) in readers.items():
        assert words
        with pytest.raises(Exception, match=r".*"):  # Arrow's own, which parquet.read tells with file and column
            reader(column, parquet.pa.chunked_array([[b"bytes"]], parquet.pa.binary()), {})


def test_rows_tell_their_truth(name: str, task: Task, targets: Targets) -> None:
    """A model meets rows of its own data set, and rows without any label."""
    truth = task.read_truth(labelled_rows(name), "rows")
    assert truth is not None
    assert truth.is_known.all()
    np.testing.assert_array_equal(truth.targets, targets)
    assert all(len(cells) == ROWS for cells in truth.columns.values())
    empty = labelled_rows(name).assign(**dict.fromkeys(task.label_readers()))
    assert task.read_truth(empty, "rows") is None


def test_loss_falls_towards_the_truth(name: str, task: Task, network: nn.Module, targets: Targets) -> None:
    labelled = task.read_rows(labelled_rows(name), tasks.kind(name).example_metadata, "rows")
    weights = torch.ones(len(labelled.strata_names))
    raw = raw_outputs(network).requires_grad_()
    loss = task.objective(network, targets, weights, 0.0)
    decode = task.decoder(network)
    optimizer = torch.optim.Adam([raw], lr=0.3)
    before, score = None, float(task.judge(decode(raw).detach().numpy(), targets).score())
    for _ in range(200):
        value = loss(raw, torch.tensor(targets))
        assert value.shape == ()
        before = before or float(value.detach())
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        assert raw.grad is not None
        assert torch.isfinite(raw.grad).all()
        optimizer.step()
    assert before is not None
    assert float(value.detach()) < before
    learnt = float(task.judge(decode(raw).detach().numpy(), targets).score())
    assert learnt > max(score, 0.9, task.floor(targets))


def test_decoding_does_not_hang_on_the_batch(name: str, task: Task, network: nn.Module) -> None:
    raw, decode = raw_outputs(network), task.decoder(network)
    whole = decode(raw)
    assert whole.shape == (ROWS, *task.output_shape)
    torch.testing.assert_close(torch.cat([decode(row) for row in raw.split(1)]), whole)
    images = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(task.finished(network)(images), decode(network(images)))


def test_the_output_s_name_fits_onnx(name: str, task: Task) -> None:
    assert task.output_name.isidentifier()


def test_pictures_left_as_they_are_keep_their_targets(name: str, task: Task, targets: Targets) -> None:
    still = torch.eye(2, 3).expand(ROWS, 2, 3)
    mirror = torch.tensor([[-1.0, 0, 0], [0, 1, 0]]).expand(ROWS, 2, 3)
    moved = task.moved(torch.tensor(targets), still, (8, 6))
    np.testing.assert_allclose(moved.numpy(), targets, atol=1e-4)
    twice = task.moved(task.moved(torch.tensor(targets), mirror, (8, 6)), mirror, (8, 6))
    np.testing.assert_allclose(twice.numpy(), targets, atol=1e-4)


def test_scores_lie_within_zero_and_one(name: str, task: Task, outputs: Outputs, targets: Targets) -> None:
    assert not task.check_outputs(outputs)
    for score in (float(task.judge(outputs, targets).score()), task.floor(targets)):
        assert 0 <= score <= 1
    for part in task.parts(outputs, targets).values():
        assert np.isnan(part.score()) or 0 <= part.score() <= 1


def test_weights_are_rows_taken_again(name: str, task: Task, outputs: Outputs, targets: Targets) -> None:
    """What a bootstrap asks: the score of rows drawn so many times is that of rows repeated so many times."""
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, (4, ROWS)).astype(np.float64)
    drawn = task.judge(outputs, targets).score(weights)
    assert drawn.shape == (4,)
    for times, score in zip(weights.astype(int), drawn, strict=True):
        repeated = task.judge(np.repeat(outputs, times, axis=0), np.repeat(targets, times, axis=0)).score()
        assert score == pytest.approx(float(repeated), abs=1e-9)


def test_tuning_never_costs_anything(name: str, task: Task, outputs: Outputs, targets: Targets) -> None:
    tuned = task.tuned(outputs, targets)
    if tuned is not None:
        assert tuned.judge(outputs, targets).score() >= task.judge(outputs, targets).score()


def test_what_is_equal_agrees_and_what_is_broken_does_not(
    name: str, task: Task, network: nn.Module, outputs: Outputs
) -> None:
    largest, changed = task.disagreement(outputs, outputs.copy())
    assert largest == 0
    assert changed.shape == (ROWS,)
    assert not changed.any()
    other: Outputs = task.decoder(network)(raw_outputs(network, seed=1)).numpy()
    largest, changed = task.disagreement(outputs, other)
    assert largest > task.tolerance
    assert changed.any()
    broken = outputs.copy()
    broken[0] = np.nan
    assert task.disagreement(outputs, broken)[0] == np.inf
    assert task.check_outputs(broken)


def test_every_output_can_be_shown(name: str, task: Task, outputs: Outputs, targets: Targets) -> None:
    for output in (outputs[row, ...] for row in range(ROWS)):
        assert all(len(cells) == len(task.columns) for cells in task.table_rows(output))
        assert len(task.frame_cells(output)) == len(task.frame_columns)
        reading = task.reading(output)
        assert reading.title
        assert reading.bar is None or 0 <= reading.bar.share <= 1
    counts = task.answer_counts(outputs)
    assert sum(counts.values()) >= ROWS
    assert set(task.headline_answers) <= counts.keys()
    json.dumps(task.details(outputs, targets), allow_nan=False)
    assert all(text for phrase, text in vars(task.words).items() if phrase != "mistakes")  # it may have none
    rows = task.noteworthy(outputs, targets)
    for pictures in (None, np.zeros((len(rows), 8, 6, 3), np.uint8)):
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        task.draw(figure, outputs, targets, pictures)
        assert figure.axes
        figure.canvas.draw()


@pytest.mark.parametrize("count", [0, 5, ROWS])
def test_mistakes_are_rows_in_words(count: int, name: str, task: Task, outputs: Outputs, targets: Targets) -> None:
    mistakes = task.mistakes(outputs, targets, count)
    assert len(mistakes) <= count
    assert mistakes or not count  # an untrained network makes some
    rows = [mistake.row for mistake in mistakes]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(ROWS))
    assert all(mistake.words for mistake in mistakes)
    first = task.mistakes(outputs, targets, 1)
    assert [mistake.row for mistake in first] == rows[:1] or count == 0


def test_boxes_that_are_drawn_are_rows_of_six(name: str, task: Task, outputs: Outputs) -> None:
    """None where a task has no boxes."""
    for output in outputs:
        boxes = task.found_boxes(output)
        assert boxes.shape == (len(boxes), 6)
        assert not len(boxes) or task.head_gives == "boxes"


def test_scores_read_as_numbers_and_back(name: str, task: Task) -> None:
    metric = task.metric
    for score in (0.0, 0.3, 1.0):
        assert metric.name in metric.shown(score)
        value: Any = metric.value(score)
        assert (1 - value / metric.error_scale if metric.error_scale else value) == pytest.approx(score)
    low, _, high = metric.shown_range(0.2, 0.8).partition(" to ")
    assert float(low) < float(high)


def test_votes_are_the_answers_and_name_states(name: str, task: Task, outputs: Outputs, targets: Targets) -> None:
    """Without hysteresis; a task that decides nothing has none."""
    questions = task.true_votes(targets).shape[1]
    for output in (outputs[row, ...] for row in range(ROWS)):
        votes = task.votes(output, 0.0, task.votes(outputs[0, ...], 0.0, ()))
        assert len(votes) == questions
        assert task.frame_values(output).keys() == set(task.frame_columns)
        json.dumps(task.frame_values(output), allow_nan=False)
        if votes:
            assert task.reading_in(votes, output) == task.reading(output)
            assert task.state_name(votes) == task.reading(output).title.removeprefix("not sure: ")
            assert set(task.ongoing(votes)) <= set(task.labels)
            assert task.votes(output, 0.4, votes) == votes
        else:
            assert (task.state_name(votes), task.ongoing(votes)) == ("", ())
