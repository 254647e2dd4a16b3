"""Does a device matter: the order of networks on a timer's runtime against that on this machine's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr

from whc.latency.bench import session
from whc.latency.timer.client import connect
from whc.latency.timing import Protocol
from whc.plugins import ChoiceOf
from whc.records import LatencySession
from whc.training.checkpoint import Checkpoint
from whc.trials.artifacts import export, untrained
from whc.trials.config import TrialConfig

pytestmark = pytest.mark.bench

RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
PROTOCOL = Protocol(min_rounds=100, max_rounds=300)
NETWORKS: dict[str, dict[str, Any]] = {
    "plain w4 d6": {"backbone": "plain", "width": 4, "depth": 6},
    "plain w8 d6": {"backbone": "plain", "width": 8, "depth": 6},
    "plain w16 d5": {"backbone": "plain", "width": 16, "depth": 5},
    "baseline w16": {"width": 16},
    "baseline w16 d6": {"width": 16, "depth": 6},
    "baseline w32": {"width": 32},
    "baseline w48 d3": {"width": 48, "depth": 3},
    "inverted_se w8": {"backbone": "inverted_se", "width": 8},
    "inverted_se w16": {"backbone": "inverted_se", "width": 16},
    "inverted_se w12 d6": {"backbone": "inverted_se", "width": 12, "depth": 6},
    "convnext w16": {"backbone": "convnext", "width": 16},
    "convnext w32 d2": {"backbone": "convnext", "width": 32, "depth": 2},
    "baseline w16, avgmax_mlp": {"width": 16, "head": "avgmax_mlp"},
    "baseline w16, lstm": {"width": 16, "sequence": {"lstm": {"frames": 4}}},
}


def exported(model: dict[str, Any], path: Path) -> Path:
    config = TrialConfig.model_validate({"model": model})
    network = untrained(config, ["no", "yes"])
    with torch.no_grad():  # biases of zero would vanish from the file
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    export(config, network, Checkpoint(config.resolved(), {}, ["no", "yes"], None, "", "", 0, 0.0), path)
    return path


def apart(timed: LatencySession, faster: int, slower: int) -> bool:
    """Whether a file is distinguishably faster than another."""
    first, second = timed.files[faster].latency, timed.files[slower].latency
    return first.ratio_high < second.ratio_low


def test_the_order_on_another_runtime(start_timer: Callable[..., Any], tmp_path: Path) -> None:
    files = [exported(model, tmp_path / f"{place}.onnx") for place, model in enumerate(NETWORKS.values())]
    process = start_timer("openvino")
    timer = connect(process.address, process.TOKEN)
    here, there = session(files, RUNTIME, PROTOCOL), session(files, RUNTIME, PROTOCOL, timer=timer)
    ratios = [[file.latency.ratio for file in timed.files] for timed in (here, there)]
    correlation = float(spearmanr(*ratios).statistic)
    swapped = [pair for pair in combinations(range(len(files)), 2) if apart(here, *pair) and apart(there, *pair[::-1])]
    swapped += [pair for pair in combinations(range(len(files)), 2) if apart(there, *pair) and apart(here, *pair[::-1])]
    print(f"\nSpearman of {here.runtime} and {there.runtime} over {len(files)} networks: {correlation:.3f}")
    for name, ours, theirs in zip(NETWORKS, *ratios, strict=True):
        print(f"  {name:28} {ours:7.3f} {theirs:7.3f} times the reference network")
    print(f"  {len(swapped)} pairs in another order, with intervals that are apart in both")
    assert swapped
    assert 0.5 < correlation < 1
