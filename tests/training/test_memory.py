"""The memory that training is said to take, against what a process that trains really takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from whc.training.memory import training_bytes

# Prints the bytes that a process grows by at the peak of its first large step; Linux counts them.
MEASURE = """
import sys, torch
from pathlib import Path
from whc.trials.artifacts import untrained
from whc.trials.config import TrialConfig

def of(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))

torch.set_num_threads(1)
config = TrialConfig.model_validate({"model": {"backbone": sys.argv[1], "width": 32, "image_size": 48}})
network = untrained(config, ["no", "yes"]).train()
optimizer = torch.optim.AdamW(network.parameters())

def step(batch):
    loss = network(torch.rand(batch, *config.model.input_shape)).square().mean()
    loss.backward()
    optimizer.step()

step(2)
before = of("VmRSS")
step(256)
print(of("VmHWM") - before)
"""


def told(backbone: str, batch: int) -> int:
    from whc.models.assemble import build
    from whc.trials.config import TrialConfig

    config = TrialConfig.model_validate({"model": {"backbone": backbone, "width": 32, "image_size": 48}})
    with torch.device("meta"):
        network = build(config.model, outputs=1)
    return training_bytes(network, (batch, *config.model.input_shape), averaged=False, evaluation_batch=1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's memory this way")
@pytest.mark.parametrize("backbone", ["baseline", "inverted_se"])
def test_what_is_told_is_what_a_process_grows_by(backbone: str) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, backbone], capture_output=True, text=True, check=True)
    assert 0.75 < told(backbone, 256) / int(done.stdout) < 1.33


def test_parts_add_up() -> None:
    with torch.device("meta"):
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
