"""Bundles: what they answer without whc, for every task and layout, and what they refuse."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from whc.data.preprocess import INTERPOLATION_METHODS, LAYOUTS
from whc.demo import model as models
from whc.demo.predict import predict
from whc.errors import ArtifactError, UsageError
from whc.export import bundle
from whc.records import ModelMetadata

SIZE = 12
LABELS = ["red", "green", "blue"]
POSES = {"task": "head_pose", "labels": [], "task_config": {"output": "rotation", "uncertainty": True}}
BOXES = {"task": "detection", "task_config": {"max_boxes": 2, "threshold": 0.3}}
# What a model says of a picture: its mean times a number, plus these numbers.
CASES: dict[str, tuple[dict[str, Any], Any, float]] = {
    "two classes": ({"labels": ["calm", "moved"]}, 0.0, 1),
    "three classes": ({"labels": LABELS}, [0.2, 0.1, 0.0], 0.5),
    "multi_label": ({"task": "multi_label", "labels": LABELS}, [0.3, 0.0, 0.2], 0.5),
    "head_pose": (POSES, [10, -20, 30, 5], 40),
    "detection": (BOXES | {"labels": ["hand"]}, [[0.6, 0, 0.5, 0.5, 0.2, 0.4], [0.2, 0, 0.1, 0.2, 0.1, 0.1]], 0.1),
    "frame_stack": ({"layout": "frame_stack", "frames": 3}, 0.0, 1),
    "lstm": ({"layout": "lstm", "frames": 4, "frame_rate": 10.0}, 0.0, 1),
    "cnn3d": ({"layout": "cnn3d", "frames": 2, "interpolation": "bilinear_antialias"}, 0.0, 1),
}


def save(path: Path, metadata: ModelMetadata, answer: Any, scale: float) -> None:
    """A model that answers with the mean of its input, times `scale`, plus `answer`; boxes keep all but their score."""
    window = np.zeros((1, metadata.frames, 3, SIZE, SIZE), np.float32)
    shape = LAYOUTS[metadata.layout](window).shape[1:]
    numbers = np.asarray(answer, np.float32)
    factor = np.full(numbers.shape, scale, np.float32)
    if numbers.ndim == 2:
        factor[:, 1:] = 0
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["means"]),
        helper.make_node("Mul", ["means", "factor"], ["scaled"]),
        helper.make_node("Add", ["scaled", "numbers"], ["answer"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["batch", *numbers.shape])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [len(shape)], list(range(1, len(shape) + 1))),
            helper.make_tensor("shape", TensorProto.INT64, [1 + numbers.ndim], [-1] + [1] * numbers.ndim),
            helper.make_tensor("factor", TensorProto.FLOAT, numbers.shape, factor.ravel().tolist()),
            helper.make_tensor("numbers", TensorProto.FLOAT, numbers.shape, numbers.ravel().tolist()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata.to_properties())
    onnx.checker.check_model(model)
    onnx.save(model, path)


@pytest.fixture
def make_model(tmp_path: Path, make_metadata: Callable[..., ModelMetadata]) -> Callable[[str], Path]:
    """Writes the model of one of the CASES."""

    def make(case: str, **changes: Any) -> Path:
        fields, answer, scale = CASES[case]
        path = tmp_path / f"{case.replace(' ', '_')}.onnx"
        save(path, make_metadata(**({"height": SIZE, "width": SIZE} | fields | changes)), answer, scale)
        return path

    return make


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds numpy, OpenCV and ONNX Runtime, and nothing else."""
    folder = tmp_path_factory.mktemp("libraries")
    for name in ("numpy", "cv2", "onnxruntime"):
        place = Path(sys.modules.get(name, __import__(name)).__file__ or "").parent
        for path in [place, *place.parent.glob(f"{ {'cv2': 'opencv_python*'}.get(name, name) }.libs")]:
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def run(libraries: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a bundle where no other library can be imported: without site-packages (-S), in an empty folder."""
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()

    def start(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", str(folder / "run.py"), *map(str, arguments)]
        environment = {"PYTHONPATH": str(libraries), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=nowhere, env=environment)

    return start


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two folders, each a clip, of pictures of several sizes; one cannot be decoded."""
    rng = np.random.default_rng(0)
    for folder, count in (("a", 5), ("b", 4)):
        (tmp_path / "pictures" / folder).mkdir(parents=True)
        for number in range(count):
            shade = rng.integers(0, 256, (1, 1, 3)) * np.ones((20 + number, 30, 1))
            noisy = np.clip(shade + rng.normal(0, 20, (20 + number, 30, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "pictures" / folder / f"{number}.png"), noisy)
    (tmp_path / "pictures" / "a" / "9.jpg").write_bytes(b"no picture")
    return tmp_path / "pictures"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def assert_same(ours: list[dict[str, str]], theirs: list[dict[str, str]]) -> None:
    """Equal names, texts and places; numbers to five digits, as a batch may round otherwise than a single picture."""
    assert len(ours) == len(theirs) > 0
    for our_row, their_row in zip(ours, theirs, strict=True):
        assert our_row.keys() == their_row.keys()
        for name, cell in our_row.items():
            if cell != their_row[name]:
                assert math.isclose(float(cell), float(their_row[name]), abs_tol=2e-5), name


@pytest.mark.parametrize("case", CASES)
def test_answers_as_predict_does(
    case: str,
    make_model: Callable[..., Path],
    pictures: Path,
    tmp_path: Path,
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    model = make_model(case)
    bundle.write(model, tmp_path / "bundle")
    predict(models.load(model), pictures, tmp_path / "whc.csv")
    model.unlink()
    done = run(tmp_path / "bundle", pictures, "--csv", tmp_path / "bundle.csv")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{pictures}/a/9.jpg: cannot be decoded; left out\n"
    assert_same(table(tmp_path / "bundle.csv"), table(tmp_path / "whc.csv"))


def test_cases_are_every_layout_and_interpolation_has_one() -> None:
    assert {fields.get("layout", "still") for fields, *_ in CASES.values()} == LAYOUTS.keys()
    assert {fields.get("interpolation", "area") for fields, *_ in CASES.values()} <= INTERPOLATION_METHODS.keys()


def test_a_bundle_is_whole_and_alone(
    make_model: Callable[..., Path], tmp_path: Path, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    bundle.write(make_model("lstm"), tmp_path / "hands.zip")
    with zipfile.ZipFile(tmp_path / "hands.zip") as packed:
        packed.extractall(tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "hands"
    assert sorted(path.name for path in folder.iterdir()) == [
        "bundle.json", "model.onnx", "requirements.txt", "run.py", "sample", "whc_runner",
    ]  # fmt: skip
    names = [line.partition(">")[0].partition("<")[0] for line in (folder / "requirements.txt").read_text().split()]
    assert names == ["numpy", "onnxruntime", "opencv-python"]
    assert not list(tmp_path.glob(".*"))
    done = run(folder)
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["path"] for row in rows] == ["003.png"]  # the sample fills one window of 4
    tasks = {path.parent.name for path in (folder / "whc_runner" / "tasks").glob("*/answers.py")}
    assert tasks == {"classification"}


def test_a_video_is_answered_and_drawn(
    make_model: Callable[..., Path], tmp_path: Path, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    video, model = tmp_path / "clip.mp4", make_model("lstm")
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 30, (64, 48))
    for shade in range(0, 240, 8):
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    bundle.write(model, tmp_path / "bundle")
    predict(models.load(model), video, tmp_path / "whc.csv")
    assert run(tmp_path / "bundle", video, "--csv", tmp_path / "bundle.csv").returncode == 0
    assert_same(table(tmp_path / "bundle.csv"), table(tmp_path / "whc.csv"))
    done = run(tmp_path / "bundle", video, "--save", tmp_path / "drawn.webm")
    assert (done.returncode, done.stderr) == (0, "")
    assert cv2.VideoCapture(str(tmp_path / "drawn.webm")).get(cv2.CAP_PROP_FRAME_COUNT) == 30


def refused(done: subprocess.CompletedProcess[str], told: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_other_files_are_refused_in_one_line(
    make_model: Callable[..., Path], tmp_path: Path, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    folder = tmp_path / "bundle"
    bundle.write(make_model("two classes"), folder)
    refused(run(folder, "--model", make_model("three classes")), "must be the file that this bundle was made of")
    told = "whc.task must be one that this bundle knows (classification), got 'head_pose'"
    refused(run(folder, "--model", make_model("head_pose")), told)
    refused(run(folder, "--model", tmp_path / "none.onnx"), "got nothing there")
    refused(run(folder, tmp_path / "none"), "got nothing there")
    refused(run(folder, 99), "camera 99")
    (folder / "model.onnx").write_bytes(b"damaged")
    refused(run(folder), "must be an ONNX file")


def test_missing_libraries_are_named(make_model: Callable[..., Path], tmp_path: Path) -> None:
    bundle.write(make_model("two classes"), tmp_path / "bundle")
    command = [sys.executable, "-S", str(tmp_path / "bundle" / "run.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": ""})
    assert done.returncode == 1
    assert done.stderr.endswith("run: pip install -r requirements.txt\n")
    assert done.stderr.count("\n") == 1


def test_targets_that_cannot_be_written(make_model: Callable[..., Path], tmp_path: Path) -> None:
    model = make_model("two classes")
    with pytest.raises(UsageError, match="must be a new folder"):
        bundle.write(model, tmp_path)
    with pytest.raises(UsageError, match="that can be written"):
        bundle.write(model, model / "bundle")
    bundle.write(model, tmp_path / "a.zip")
    bundle.write(model, tmp_path / "a.zip")
    assert not list(tmp_path.glob(".*"))


def test_what_is_no_model_of_whc(make_model: Callable[..., Path], tmp_path: Path) -> None:
    model = make_model("two classes", task="telepathy")
    with pytest.raises(ArtifactError, match=r"whc.task: .*telepathy"):
        bundle.write(model, tmp_path / "bundle")
    model.write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="must be an ONNX file"):
        bundle.write(model, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_the_description_has_all_parameters_of_the_task(make_model: Callable[..., Path], tmp_path: Path) -> None:
    bundle.write(make_model("detection", task_config={"max_boxes": 2}), tmp_path / "bundle")
    described = json.loads((tmp_path / "bundle" / "bundle.json").read_text("utf-8"))
    assert described["metadata"]["task_config"]["threshold"] == 0.3
    shutil.rmtree(tmp_path / "bundle")
