"""Does a runtime matter: the order of networks on a timer's runtime, and of LiteRT files, against ONNX Runtime's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from whc import plugins
from whc.errors import UsageError
from whc.export import converter
from whc.latency.bench import session
from whc.latency.timer.client import connect
from whc.latency.timing import Protocol
from whc.plugins import ChoiceOf
from whc.records import Latency
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


LITERT_NETWORKS = {name: model for name, model in NETWORKS.items() if "sequence" not in model} | {
    "baseline w8, 16 px": {"width": 8, "image_size": 16},
    "baseline w16, 64 px": {"width": 16, "image_size": 64},
    "inverted_se w24, 48 px": {"backbone": "inverted_se", "width": 24, "image_size": 48},
    "convnext w24 d3, 24 px": {"backbone": "convnext", "width": 24, "depth": 3, "image_size": 24},
    "efficientnet w16": {"backbone": "efficientnet", "width": 16},
    "efficientnet w16, 64 px": {"backbone": "efficientnet", "width": 16, "image_size": 64},
    "uhd w32 d3, 64 px": {"backbone": "uhd", "width": 32, "depth": 3, "image_size": 64},
}
LITERT_KINDS = ("litert", "litert_int8")


def exported(model: dict[str, Any], folder: Path, kinds: Sequence[str] = ("onnx",)) -> list[Path]:
    """The same network as a file of each kind."""
    config = TrialConfig.model_validate({"model": model})
    network = untrained(config, ["no", "yes"])
    with torch.no_grad():  # biases of zero would vanish from the file
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    saved = Checkpoint(config.resolved(), {}, ["no", "yes"], None, "", "", 0, 0.0)
    inputs = np.random.default_rng(0).random((8, *config.model.input_shape), np.float32)
    paths = []
    for kind in kinds:
        exporter = plugins.load("export", kind)
        paths.append(folder / f"{kind}{exporter.SUFFIX}")
        artifact = ChoiceOf("export").parse(kind)
        export(config, network, saved, paths[-1], artifact, inputs if exporter.NEEDS_CALIBRATION else None)
    return paths


def is_faster(first: Latency, second: Latency) -> bool:
    """Whether it is, distinguishably."""
    return first.ratio_high < second.ratio_low


def swapped(ours: Sequence[Latency], theirs: Sequence[Latency]) -> int:
    """Pairs that are in another order, with intervals that are apart in both."""
    pairs = permutations(range(len(ours)), 2)
    return sum(is_faster(ours[a], ours[b]) and is_faster(theirs[b], theirs[a]) for a, b in pairs)


def compared(ours: Sequence[Latency], theirs: Sequence[Latency], what: str) -> float:
    """Spearman's rank correlation, which is printed."""
    ratios = [[latency.ratio for latency in latencies] for latencies in (ours, theirs)]
    correlation = float(spearmanr(*ratios).statistic)
    pairs, others = len(ours) * (len(ours) - 1) // 2, swapped(ours, theirs)
    print(
        f"\nSpearman of {what} over {len(ours)} networks: {correlation:.3f}; {others} of {pairs} pairs in another order"
    )
    return correlation


def test_the_order_on_another_runtime(start_timer: Callable[..., Any], tmp_path: Path) -> None:
    files = [exported(model, tmp_path / str(place))[0] for place, model in enumerate(NETWORKS.values())]
    process = start_timer("openvino")
    timer = connect(process.address, process.TOKEN)
    sessions = session(files, RUNTIME, PROTOCOL), session(files, RUNTIME, PROTOCOL, timer=timer)
    here, there = ([file.latency for file in timed.files] for timed in sessions)
    correlation = compared(here, there, " and ".join(timed.runtime for timed in sessions))
    for name, ours, theirs in zip(NETWORKS, here, there, strict=True):
        print(f"  {name:28} {ours.ratio:7.3f} {theirs.ratio:7.3f} times the reference network")
    assert swapped(here, there)
    assert 0.5 < correlation < 1


def test_the_order_of_litert_files(tmp_path: Path) -> None:
    """Of float32 and int8 files against the ONNX files of the same networks, all in one session."""
    try:
        converter.require()
    except UsageError as error:
        pytest.skip(str(error))
    kinds = ("onnx", *LITERT_KINDS)
    made = [exported(model, tmp_path / str(place), kinds) for place, model in enumerate(LITERT_NETWORKS.values())]
    result = session(list(chain(*made)), RUNTIME, PROTOCOL.model_copy(update={"max_s": 900.0}))
    timed = {file.path: file.latency for file in result.files}
    rows = [[timed.get(str(path)) for path in paths] for paths in made]
    for place, kind in enumerate(LITERT_KINDS, 1):
        both = [(row[0], row[place]) for row in rows if row[0] and row[place]]
        assert compared(*zip(*both, strict=True), f"onnx and {kind}") > 0.5
    print(f"  {'':28} times the reference network; {', '.join(LITERT_KINDS)} times that")
    for name, (onnx, *others) in zip(LITERT_NETWORKS, rows, strict=True):
        assert onnx
        print(
            f"  {name:28} {onnx.ratio:7.3f}",
            *(f"{each.ratio / onnx.ratio:6.2f}" if each else "none" for each in others),
        )
    print(*(file.reason for file in result.failed), sep="\n")
