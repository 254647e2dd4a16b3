"""The memory that training is said to take, against what PyTorch's allocator really hands out."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from whc.models.assemble import build
from whc.training.memory import inference_bytes, training_bytes
from whc.trials.artifacts import untrained
from whc.trials.config import TrialConfig


def taken(backbone: str, batch: int, folder: Path) -> int:
    """Peak of the bytes allocated by a first training step, its network included.

    What the process grows by would hold the scratch of the machine's convolutions too, which is another on each CPU.
    """
    config = TrialConfig.model_validate({"model": {"backbone": backbone, "width": 32, "image_size": 48}})
    network = untrained(config, ["no", "yes"]).train()
    optimizer = torch.optim.AdamW(network.parameters())

    def step() -> None:
        network(torch.rand(batch, *config.model.input_shape)).square().mean().backward()
        optimizer.step()

    return peak_of(network, step, folder)


def peak_of(network: nn.Module, work: Callable[[], object], folder: Path) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    profiler.export_chrome_trace(str(folder / "trace.json"))
    trace = json.loads((folder / "trace.json").read_text())["traceEvents"]
    events = sorted((event for event in trace if event["name"] == "[memory]"), key=lambda event: event["ts"])
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())
    return weights + max(accumulate(event["args"]["Bytes"] for event in events))


def told(backbone: str, batch: int) -> int:
    config = TrialConfig.model_validate({"model": {"backbone": backbone, "width": 32, "image_size": 48}})
    network = build(config.model, outputs=1)
    return training_bytes(network, (batch, *config.model.input_shape), averaged=False, evaluation_batch=1)


@pytest.mark.parametrize("backbone", ["baseline", "convnext", "inverted_se"])
def test_what_is_told_is_what_is_taken(backbone: str, tmp_path: Path) -> None:
    assert 0.95 < told(backbone, 64) / taken(backbone, 64, tmp_path) < 1.25


@pytest.mark.parametrize("backbone", ["baseline", "convnext", "inverted_se", "efficientnet"])
def test_what_a_teacher_is_told_to_take_is_what_it_takes(backbone: str, tmp_path: Path) -> None:
    config = TrialConfig.model_validate({"model": {"backbone": backbone, "width": 32, "image_size": 48}})
    network, batch = untrained(config, ["no", "yes"]).eval(), (64, *config.model.input_shape)

    def look() -> None:
        with torch.no_grad():
            network(torch.rand(batch))

    assert 0.8 < inference_bytes(network, batch) / peak_of(network, look, tmp_path) < 1.6


def test_parts_add_up() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False), nn.ReLU(), nn.Linear(5, 1, bias=False))
    images, hidden, weights = 7 * 12 * 4, 7 * 5 * 4, (60 + 5) * 4
    # The input (given and kept) and what comes out of the ReLU are kept; the largest is the input.
    expected = 4 * weights + images + (images + hidden) + 2 * images
    assert training_bytes(network, (7, 3, 2, 2), averaged=False, evaluation_batch=7) == expected
    averaged = training_bytes(network, (7, 3, 2, 2), averaged=True, evaluation_batch=7)
    assert averaged == expected + weights
    assert training_bytes(network, (7, 3, 2, 2), averaged=False, evaluation_batch=700) == expected - (
        images + hidden + 2 * images
    ) + 2 * (100 * images)


def test_nothing_of_what_was_run_is_kept() -> None:
    network = build(TrialConfig().model, outputs=1)
    outputs: list[weakref.ref[torch.Tensor]] = []
    for layer in network.modules():
        layer.register_forward_hook(lambda _, __, output: outputs.append(weakref.ref(output)))
    shape = (2, *TrialConfig().model.input_shape)
    training_bytes(network, shape, averaged=False, evaluation_batch=2)
    hooks = sum(len(layer._forward_hooks) for layer in network.modules())
    inference_bytes(network.eval(), shape)
    assert sum(len(layer._forward_hooks) for layer in network.modules()) == hooks
    assert len(outputs) > 4
    assert not any(output() is not None for output in outputs)
