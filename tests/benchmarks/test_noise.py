"""Is what the timing says so? Sessions against each other, planted slowdowns, and other work on the same cores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import kendalltau

from whc.export import onnx as onnx_export
from whc.latency.bench import bench, session
from whc.latency.timing import REFERENCE_NAME, Protocol
from whc.plugins import ChoiceOf
from whc.records import Latency, LatencySession, ModelMetadata
from whc.trials import quiet_slot
from whc.trials.artifacts import untrained
from whc.trials.config import TrialConfig

pytestmark = pytest.mark.bench

RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")
PROTOCOL = Protocol()
OURS: list[dict[str, object]] = [
    {"width": 8, "depth": 3},
    {"width": 16},
    {"width": 32},
    {"width": 48},
    {"backbone": "inverted_se", "head": "avgmax_mlp", "width": 32},
]
THEIRS = ("baseline_w16", "baseline_w64", "inverted_se_w24", "convnext_w32_avg", "sequence_lstm_w32_len4")
BURN = "while True: pass"
# A training as a trial runs it: one thread, small batches, for as long as it is let.
TRAIN = """
import torch
torch.set_num_threads(1)
network = torch.nn.Sequential(
    *[layer for _ in range(6) for layer in (torch.nn.LazyConv2d(32, 3, padding=1), torch.nn.ReLU())],
    torch.nn.Flatten(), torch.nn.LazyLinear(2),
)
images, labels = torch.rand(64, 3, 32, 32), torch.randint(2, (64,))
network(images)
optimiser = torch.optim.AdamW(network.parameters())
print("started", flush=True)
while True:
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    optimiser.step()
"""


def exported(model: dict[str, object], path: Path) -> tuple[TrialConfig, Path]:
    config = TrialConfig.model_validate({"model": model})
    height, width = config.model.image_size
    metadata = ModelMetadata(
        task="classification", labels=["no", "yes"], layout=config.model.layout, frames=1,
        frame_rate=None, height=height, width=width, resize="stretch", interpolation="area",
        data_fingerprint="", code_version="",
    )  # fmt: skip
    network, task = untrained(config, metadata.labels), config.task_for(metadata.labels)
    onnx_export.export(network, task, path, metadata, config.model.input_shape, onnx_export.Config())
    return config, path


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("ours")
    return [exported(model, folder / f"{number}.onnx")[1] for number, model in enumerate(OURS)]


@contextmanager
def running(code: str, processes: int) -> Iterator[None]:
    """Other work on the machine."""
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(processes)]
    try:
        if "started" in code:
            for process in started:
                assert process.stdout is not None
                process.stdout.readline()
        yield
    finally:
        for process in started:
            process.kill()
            process.communicate()


def ratios(found: LatencySession) -> list[float]:
    return [file.latency.ratio for file in found.files]


def told(label: str, found: LatencySession) -> None:
    against = f"against itself {found.aa_ratio:.3f} ({found.aa_low:.3f} to {found.aa_high:.3f})"
    print(f"{label}: {' '.join(f'{ratio:.3f}' for ratio in ratios(found))}, {against}{', noisy' * found.noisy}")


def furthest(first: LatencySession, second: LatencySession) -> float:
    return max(abs(b / a - 1) for a, b in zip(ratios(first), ratios(second), strict=True))


@pytest.mark.parametrize("ladder", ["ours", "originals"])
def test_two_sessions_agree(ladder: str, ours: list[Path], request: pytest.FixtureRequest) -> None:
    files = ours
    if ladder == "originals":
        folder = request.getfixturevalue("shared") / "peer" / "onnx"
        files = [folder / f"{name}.onnx" for name in THEIRS]
    print()
    first = session(files, RUNTIME, PROTOCOL)
    told("first", first)
    with running(BURN, 4):
        subprocess.run([sys.executable, "-c", "sum(i * i for i in range(10**7))"], check=True)
    second = session(files, RUNTIME, PROTOCOL)
    told("second", second)
    print(f"furthest apart: {furthest(first, second):.2%}")
    assert furthest(first, second) < 0.05
    assert np.argsort(ratios(first)).tolist() == np.argsort(ratios(second)).tolist()

    with running(BURN, 1):
        burning = session(files, RUNTIME, PROTOCOL)
    told("while another process burns a core", burning)
    print(f"furthest apart: {furthest(first, burning):.2%}")
    assert burning.noisy or furthest(first, burning) < 0.10


def test_quiet_runs_are_not_called_noisy(ours: list[Path]) -> None:
    found = [session(ours[:2], RUNTIME, PROTOCOL) for _ in range(10)]
    outside = sum(not one.aa_low <= 1 <= one.aa_high for one in found)
    worst = max(abs(one.aa_ratio - 1) for one in found)
    print(
        f"\n{sum(one.noisy for one in found)} of 10 quiet runs called noisy; reference against itself: {outside} of 10"
    )
    print(f"intervals without 1, furthest {worst:.2%}")
    assert sum(one.noisy for one in found) <= 1


def chain(layers: int, path: Path) -> Path:
    """So many layers, all alike: one more adds a known share of the work, by any count of instructions."""
    rng = np.random.default_rng(0)
    width, nodes, weights = 24, [], []
    for layer in range(layers):
        values = rng.normal(0, np.sqrt(2 / width), (width, width, 1, 1)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [f"x{layer}", f"w{layer}"], [f"y{layer}"], kernel_shape=[1, 1]))
        nodes.append(helper.make_node("Relu", [f"y{layer}"], [f"x{layer + 1}"]))
    shape = [1, width, 16, 16]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x0", f"x{layers}")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_slowdown_of_5_percent_is_seen(tmp_path: Path) -> None:
    files = [chain(20, tmp_path / "20.onnx"), chain(21, tmp_path / "21.onnx")]
    long = session(files, RUNTIME, Protocol(min_rounds=1000, max_rounds=1000)).files[1]
    truth = (long.ratio_to_first_low, long.ratio_to_first_high)
    print(f"\nplanted: {long.ratio_to_first:.4f} ({truth[0]:.4f} to {truth[1]:.4f}) in a long run")
    seen = 0
    for _ in range(10):
        slower = session(files, RUNTIME, PROTOCOL).files[1]
        seen += slower.ratio_to_first_low > 1
        print(f"{slower.ratio_to_first:.4f} ({slower.ratio_to_first_low:.4f} to {slower.ratio_to_first_high:.4f})")
    assert 1.03 < long.ratio_to_first < 1.07
    assert seen == 10


@pytest.mark.parametrize("which", [1, 3, 4])
def test_a_file_against_itself_is_no_slower(ours: list[Path], which: int) -> None:
    twins = [session([ours[which]] * 2, RUNTIME, PROTOCOL).files[1] for _ in range(20)]
    accepted = sum(twin.ratio_to_first_low <= 1 <= twin.ratio_to_first_high for twin in twins)
    widest = max(twin.ratio_to_first_high - twin.ratio_to_first_low for twin in twins) / 2
    print(f"\n{OURS[which]}: {accepted} of 20 intervals hold 1, the widest ±{widest:.2%}")
    assert accepted >= 17


@pytest.mark.parametrize("backbone", ["baseline", "inverted_se", "convnext"])
def test_luma_costs_no_more_than_rgb(backbone: str, tmp_path: Path) -> None:
    colors = ("rgb", "luma")
    files = [exported({"backbone": backbone, "color": color}, tmp_path / f"{color}.onnx")[1] for color in colors]
    luma = session(files, RUNTIME, PROTOCOL).files[1]
    interval = f"{luma.ratio_to_first_low:.3f} to {luma.ratio_to_first_high:.3f}"
    print(f"\n{backbone}: luma takes {luma.ratio_to_first:.3f} ({interval}) of RGB's time")
    assert luma.ratio_to_first_low <= 1.0


def architectures() -> list[dict[str, object]]:
    """Twenty of the space's, drawn at random."""
    rng = np.random.default_rng(0)
    heads = {"baseline": "avg", "inverted_se": "avgmax_mlp", "convnext": "avg"}
    drawn: list[dict[str, object]] = []
    for number in range(20):
        backbone = list(heads)[number % 3]
        width, depth = int(rng.integers(2, 17)) * 4, int(rng.integers(2, 5))
        drawn.append({"backbone": backbone, "head": heads[backbone], "width": width, "depth": depth})
    return drawn


def test_the_quiet_slot_ranks_as_an_idle_machine_does(tmp_path: Path) -> None:
    trials = [exported(model, tmp_path / f"{number}.onnx") for number, model in enumerate(architectures())]
    idle_ms = bench({}, RUNTIME, PROTOCOL)[REFERENCE_NAME].ms

    def measured(cache: str) -> list[Latency]:
        def of(path: Path) -> Latency:
            return quiet_slot.measured(path.stem, lambda: path, RUNTIME, idle_ms, tmp_path / cache).latency

        return [of(path) for _, path in trials]

    alone = measured("alone")
    with running(TRAIN, 2):
        beside = measured("beside")
    tau = float(kendalltau([one.ms for one in alone], [one.ms for one in beside]).statistic)
    off = [abs(b.ms / a.ms - 1) for a, b in zip(alone, beside, strict=True)]
    print(
        f"\n20 architectures, {min(a.ms for a in alone):.3f} to {max(a.ms for a in alone):.3f} ms, beside 2 trainings:"
    )
    print(f"Kendall tau {tau:.3f}, apart by {np.median(off):.2%} in the middle and {max(off):.2%} at most")
    print(f"called noisy: {sum(one.noisy for one in alone)} alone, {sum(one.noisy for one in beside)} beside")
    assert tau >= 0.9
