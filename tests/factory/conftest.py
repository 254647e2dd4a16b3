"""A study with real trials, searched without Ray: the factory only sees what is on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper

from whc import plugins, records
from whc.data import dataset
from whc.data.dataset import Corpus, load
from whc.data.synthetic import render
from whc.factory.scoring import Model, read_rows, score
from whc.latency.host import host
from whc.plugins import ChoiceOf
from whc.records import (
    Champion,
    LadderTable,
    Latency,
    LatencySession,
    ModelMetadata,
    StudyRecord,
    TimedFile,
    VariantRow,
)
from whc.runtimes import choose_for
from whc.tasks.classification import Classification
from whc.trials.config import TrialConfig
from whc.trials.run import Assignment, Limits, run

# Differences of frames, as without them six epochs leave all three near the constant predictor on some machines.
NETWORKS = [
    {"width": 4, "depth": 1, "sequence": {"frame_stack": {"frames": 2, "differences": True}}},
    {"width": 8, "depth": 2, "sequence": {"frame_stack": {"frames": 4, "differences": True}}},
    {"width": 16, "depth": 2, "color": "luma", "sequence": {"frame_stack": {"frames": 6, "differences": True}}},
]


QUICK = """
prefix: hand
min_gain: 0
confidence: 0.01
min_over_floor: 0
refit: {seeds: 0}
timing: {min_rounds: 10, max_rounds: 20}
"""


@pytest.fixture(scope="package")
def searched(tmp_path_factory: pytest.TempPathFactory, make_study: Callable[..., StudyRecord]) -> Path:
    """A folder of runs with one study of three trained trials."""
    runs = tmp_path_factory.mktemp("runs")
    data = render(runs / "synth", clips=40)
    corpus = load(data, [(16, 16)], Classification)
    for number, network in enumerate(NETWORKS):
        _run_trial(f"{number:05d}", network, runs, corpus, 0.02 * (number + 1))
    make_study(
        study="wave-1",
        space_name="wave",
        space={"model": {"image_size": 16}},
        data=str(data),
        data_fingerprint=corpus.fingerprint,
        trials=3,
        reference_ms=0.02,
        host=host(),
    ).save(runs / "wave-1")
    return runs


@pytest.fixture
def study(searched: Path, tmp_path: Path) -> Path:
    """A copy of the searched study that a test may spoil."""
    return Path(shutil.copytree(searched / "wave-1", tmp_path / "runs" / "wave-1"))


@pytest.fixture(scope="session")
def quick() -> str:
    """A recipe that takes seconds."""
    return QUICK


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """The path of a recipe that takes seconds."""
    path = tmp_path / "quick.yaml"
    path.write_text(QUICK)
    return str(path)


@pytest.fixture(scope="package")
def searched_more(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `searched`, with a larger network that sees as many frames as the first."""
    runs = Path(shutil.copytree(searched, tmp_path_factory.mktemp("more") / "runs"))
    corpus = load(searched / "synth" / "dataset.parquet", [(16, 16)], Classification)
    _run_trial("00003", {**NETWORKS[0], "width": 8}, runs, corpus, 0.08)
    return runs


def _run_trial(trial_id: str, network: dict[str, Any], runs: Path, corpus: Corpus, latency_ms: float) -> None:
    runtime = ChoiceOf("runtimes").parse("onnxruntime_cpu")
    config = TrialConfig.model_validate(
        {
            "model": {**network, "image_size": 16, "dropout": 0.0},
            "training": {"epochs": 6, "batch_size": 16, "lr": 0.01, "augmentation": {"affine": 0}},
        }
    )
    folder = runs / "wave-1" / "trials" / trial_id
    job = Assignment(trial_id, "wave-1", folder, Limits(), runtime, 0.02, runs / ".latency", {})
    record = run(config, corpus, job, lambda _: None)
    # Timed as written, so that who is on the front does not hang on the machine's mood.
    assert record.latency is not None
    latency = record.latency.model_copy(update={"ms": latency_ms})
    records.save(record.model_copy(update={"latency": latency}), folder / "record.json")


LABELS = ["dark", "bright"]


def write_pictures(path: Path, people: Sequence[str], seed: int) -> Path:
    """Twelve grey pictures of each person, the brighter half `bright`; every second person is `train`, others `val`."""
    rng, rows = np.random.default_rng(seed), []
    for place, person in enumerate(people):
        for shade in rng.integers(0, 255, 12):
            picture = np.full((8, 8, 3), shade, np.uint8)
            split, label = ("train", "val")[place % 2], LABELS[int(shade >= 128)]
            encoded = cv2.imencode(".png", picture)[1].tobytes() + bytes([len(rows) % 256])
            rows.append({"image_bytes": encoded, "split": split, "label": label, "person_id": person})
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_network(path: Path, cut: float, metadata: ModelMetadata) -> Path:
    """Calls a picture bright from a mean brightness of `cut` on; a cut of 0.5 is right everywhere."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
            helper.make_node("Sub", ["mean", "cut"], ["above"]),
            helper.make_node("Mul", ["above", "steepness"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["prob_bright"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("prob_bright", TensorProto.FLOAT, ["batch"])],
        [
            numpy_helper.from_array(np.array(cut, np.float32), "cut"),
            numpy_helper.from_array(np.array(200, np.float32), "steepness"),
            numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata.to_properties())
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


@pytest.fixture(name="load_file")
def give_loader() -> Callable[..., Model]:
    return load_file


@pytest.fixture(name="timed_as")
def give_timer() -> Callable[..., Callable[..., LatencySession]]:
    return timed_as


def load_file(path: Path, like: Model | None = None) -> Model:
    """As the command line loads the files of a ladder."""
    from whc.demo import model as models

    del like
    runtime = choose_for([path])
    return models.checked(plugins.load("runtimes", runtime.name).load(path, runtime.config))


def timed_as(ratios: dict[str, float], noisy: bool = False) -> Callable[..., LatencySession]:
    """A session that gives each file, by its stem, this ratio to the reference network, within 1 %."""

    def session(paths: Sequence[Path], *_: object) -> LatencySession:
        files = []
        for path in paths:
            ratio = ratios[path.stem]
            fields = {"ms": ratio, "low_ms": 0.99 * ratio, "high_ms": 1.01 * ratio, "p90_ms": ratio, "p99_ms": ratio}
            latency = Latency(ratio=ratio, runtime="onnxruntime_cpu", threads=1, host=host(), **fields)
            first = {"ratio_to_first": 1, "ratio_to_first_low": 1, "ratio_to_first_high": 1}
            files.append(TimedFile(path=str(path), sha256=records.sha256(path), latency=latency, **first))
        about = {"host": host(), "runtime": "onnxruntime_cpu", "threads": 1, "reference_ms": 1, "noisy": noisy}
        return LatencySession(**about, aa_ratio=1, aa_low=1, aa_high=1, files=files, failed=[])

    return session


@pytest.fixture
def make_ladder(
    tmp_path: Path, make_study: Callable[..., StudyRecord], make_metadata: Callable[..., ModelMetadata]
) -> Callable[..., tuple[LadderTable, Path]]:
    """Writes a study with a ladder: `make_ladder("new", {"hand_s": (0.55, 1.0), ...}, people, seed)`.

    A variant is given by its cut and its ratio to the reference network.
    """

    def make(
        study: str, variants: dict[str, tuple[float, float]], people: Sequence[str], seed: int = 0
    ) -> tuple[LadderTable, Path]:
        folder = tmp_path / "runs" / study
        folder.mkdir(parents=True)
        data = write_pictures(folder / "data.parquet", people, seed)
        mark = load_file(write_network(tmp_path / "mark.onnx", 0.5, make_metadata(labels=LABELS)))
        found = dataset.read(data, type(mark.task), is_labelled=False)
        make_study(study=study, data=str(data), data_fingerprint=found.fingerprint).save(folder)
        rows = []
        for name, (cut, ratio) in variants.items():
            metadata = make_metadata(labels=LABELS, data_fingerprint=found.fingerprint)
            path = write_network(folder / "ladder" / f"{name}.onnx", cut, metadata)
            model = load_file(path)
            val = score(model, read_rows([data], [model], "val")).score
            scores: dict[str, Any] = {"score": None, "score_low": None, "score_high": None, "score_changed": {}}
            latency = {"latency_ms": ratio, "latency_low_ms": 0.99 * ratio, "latency_high_ms": 1.01 * ratio}
            file = {"size_bytes": path.stat().st_size, "file": f"ladder/{name}.onnx", "sha256": records.sha256(path)}
            origin = {"params": 1, "runtime": "onnxruntime_cpu", "config": {}, "trial_id": name, "seeds": {}}
            rows.append(
                VariantRow(name=name, val_score=val, latency_ratio=ratio, **scores, **latency, **file, **origin)
            )
        table = LadderTable(
            study=study,
            prefix="hand",
            task="classification",
            labels=LABELS,
            metric=mark.task.metric,
            data_fingerprint=found.fingerprint,
            code_version="1",
            host=host(),
            noisy=False,
            aa_ratio=1,
            test_split=False,
            floor=None,
            confidence=0.8,
            variants_at_95=len(rows),
            variants=rows,
        )
        records.save(table, folder / "table.json")
        return table, folder

    return make


@pytest.fixture
def champions_of() -> Callable[[tuple[LadderTable, Path]], list[Champion]]:
    """The variants of a ladder as if they were registered."""

    def give(ladder: tuple[LadderTable, Path]) -> list[Champion]:
        table, folder = ladder
        return [
            Champion(name=row.name, version="1", study=table.study, path=folder / row.file) for row in table.variants
        ]

    return give
