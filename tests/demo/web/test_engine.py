"""The engine of the page in a real browser: the same tensors, answers, boxes and people as Python's."""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from whc import tasks
from whc.data.cropping import crop_edges, cut
from whc.data.preprocess import INTERPOLATION_METHODS, LAYOUTS, Image, resize, to_input
from whc.data.video import open_video
from whc.demo import detectors, people
from whc.demo import model as models
from whc.demo.detectors import Settings
from whc.demo.predict import predict
from whc.demo.regions import WHOLE_FRAME
from whc.demo.tracking import Tracker
from whc.demo.viewing import watch_region
from whc.demo.web.descriptions import detector_bytes, detector_description, model_description
from whc.demo.window import Window
from whc.records import CropRule, ModelMetadata

Job = Callable[..., Any]
Linear = Callable[..., Path]
SIZES = ((1, 1), (7, 5), (16, 16), (33, 20), (48, 64), (61, 97))
PICTURES = 50
SHIPPED = {
    "yunet": "face_detection_yunet_2026may.onnx",
    "ultraface": "ultraface_RFB-320.onnx",
    "blazeface": "blazeface_front_128.onnx",
}
CLIPS = ("head-pose-face-detection-male.mp4", "head-pose-face-detection-female-and-male.mp4")


def bytes_of(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(base64.b64decode(text), np.uint8)


def model_of(path: Path) -> dict[str, Any]:
    return {"bytes": path.read_bytes(), "description": model_description(path)}


def detector_of(source: Path | str, label: str | None = None) -> dict[str, Any]:
    description = detector_description(str(source), Settings(label=label))
    return {"bytes": detector_bytes(str(source)), "description": description}


def at_rate(pictures: Iterable[Image], fps: float) -> list[dict[str, Any]]:
    return [{"picture": image, "seconds": number / fps} for number, image in enumerate(pictures)]


def frames_of(shared: Path, numbers: Sequence[int], clips: Iterable[str]) -> list[Image]:
    """These frames of clips."""
    frames = []
    for clip in clips:
        with open_video(shared / "data" / "video" / clip) as video:
            for number, frame in enumerate(video):
                if number > max(numbers):
                    break
                if number in numbers:
                    frames.append(frame.picture)
    return frames


@pytest.fixture
def make_linear(tmp_path: Path, make_metadata: Callable[..., ModelMetadata], rng: np.random.Generator) -> Linear:
    """Writes a network that weighs each number of its input, of frames of 8x8, differently."""

    def make(layout: str, frames: int, **changes: Any) -> Path:
        shape = LAYOUTS[layout](np.empty((1, frames, 3, 8, 8))).shape
        weights = rng.normal(0, 1, shape[1:]) / np.sqrt(frames)
        axes = list(range(1, len(shape)))
        graph = helper.make_graph(
            [
                helper.make_node("Mul", ["images", "weights"], ["products"]),
                helper.make_node("ReduceSum", ["products", "axes"], ["sums"], keepdims=0),
                helper.make_node("Sigmoid", ["sums"], ["prob_waving"]),
            ],
            "linear",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", *shape[1:]])],
            [helper.make_tensor_value_info("prob_waving", TensorProto.FLOAT, ["batch"])],
            [
                helper.make_tensor("weights", TensorProto.FLOAT, shape[1:], weights.ravel()),
                helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        helper.set_model_props(model, make_metadata(layout=layout, frames=frames, **changes).to_properties())
        onnx.save(model, tmp_path / f"{layout}.onnx")
        return tmp_path / f"{layout}.onnx"

    return make


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("interpolation", INTERPOLATION_METHODS)
def test_a_resized_picture(interpolation: str, rng: np.random.Generator, in_browser: Job) -> None:
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
    cases = [(image, size) for image in pictures for size in (*SIZES, (24, 32), (2 * image.shape[0], image.shape[1]))]
    ours = in_browser(
        "resized",
        cases=[
            {"picture": image, "height": height, "width": width, "interpolation": interpolation}
            for image, (height, width) in cases
        ],
    )
    for (image, size), text in zip(cases, ours, strict=True):
        expected = resize(image, *size, interpolation)
        np.testing.assert_array_equal(bytes_of(text).reshape(expected.shape), expected, f"{image.shape} to {size}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_input(layout: str, rng: np.random.Generator, in_browser: Job) -> None:
    frames = 1 if layout == "still" else 3
    windows = rng.integers(0, 256, (2, frames, 5, 4, 3), np.uint8)
    ours = in_browser("input", windows=[list(window) for window in windows], layout=layout)
    expected = to_input(windows, layout)
    assert tuple(ours["shape"]) == expected.shape
    np.testing.assert_array_equal(np.float32(ours["data"]), expected.ravel())


@pytest.fixture
def smile_files(shared: Path, tmp_path: Path) -> Path:
    """A folder of PICTURES pictures, as they are in the data."""
    table = pq.ParquetFile(shared / "data" / "smile" / "dataset.parquet").read(["split", "image_bytes"]).to_pandas()
    folder = tmp_path / "smile"
    folder.mkdir()
    for number, encoded in enumerate(table[table["split"] == "test"]["image_bytes"][:PICTURES]):
        (folder / f"{number:02d}.jpg").write_bytes(encoded)
    return folder


@pytest.fixture
def smile_model(tmp_path: Path, make_metadata: Callable[..., ModelMetadata], season: Callable[..., Any]) -> Path:
    """A classifier of 40x40 pictures as whc exports it, whose threshold divides the pictures of `smile_files`."""
    import torch

    from whc.export import onnx as exporter
    from whc.models.assemble import ModelConfig, build
    from whc.tasks.classification import Classification, Config

    torch.manual_seed(0)
    config = ModelConfig.model_validate({"width": 8, "depth": 2, "image_size": 40})
    network = season(build(config, 1), config.input_shape)
    metadata = make_metadata(labels=["no_smiling", "smiling"], height=40, width=40, task_config={"threshold": 0.1})
    task = Classification(("no_smiling", "smiling"), Config())
    path = tmp_path / "smile_m.onnx"
    exporter.export(network, task, path, metadata, config.input_shape, exporter.Config())
    return path


def test_probabilities_are_those_of_predict(
    smile_files: Path, smile_model: Path, tmp_path: Path, in_browser: Job
) -> None:
    predict(models.load(smile_model), smile_files, tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()))
    seen = in_browser(
        "watched",
        model={"bytes": smile_model.read_bytes(), "description": model_description(smile_model)},
        detector=None,
        fps=None,
        frames=[{"file": (smile_files / row["path"]).read_bytes(), "seconds": i} for i, row in enumerate(rows)],
    )
    probabilities = [float(row["prob_smiling"]) for row in rows]
    assert len(rows) == PICTURES
    assert {row["label"] for row in rows} == {"no_smiling", "smiling"}
    for frame, row, probability in zip(seen, rows, probabilities, strict=True):
        (sighting,) = frame["sightings"]
        assert sighting["output"] == pytest.approx([probability], abs=1e-3)
        assert sighting["reading"]["title"].removeprefix("not sure: ") == row["label"]
        assert sighting["isFresh"]
        assert frame["modelMs"] > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_network_of_each_layout(layout: str, rng: np.random.Generator, make_linear: Linear, in_browser: Job) -> None:
    path = make_linear(layout, 1 if layout == "still" else 3)
    frames = rng.integers(0, 256, (5, 20, 30, 3), np.uint8)
    model = models.load(path)
    watch = watch_region(model, WHOLE_FRAME, None)
    seen = in_browser("watched", model=model_of(path), detector=None, fps=None, frames=at_rate(frames, 10))
    for number, frame in enumerate(frames):
        (expected,), (ours,) = watch(frame, number / 10), seen[number]["sightings"]
        assert ours["isFresh"] == expected.is_fresh
        if expected.verdict is None:
            assert (ours["output"], ours["reading"], seen[number]["title"]["title"]) == (None, None, "warming up")
        else:
            assert ours["output"] == pytest.approx([float(expected.verdict.output)], abs=1e-5)


TASKS: dict[str, tuple[dict[str, Any], list[list[float]]]] = {
    "two classes": ({}, [[0.0], [0.0078125], [0.3], [0.3999], [0.4999], [0.5999], [1.0]]),
    "three classes": ({"labels": ["a", "b", "c"]}, [[0.2, 0.5, 0.3], [0.5, 0.5, 0.0], [0.35, 0.5, 0.15]]),
    "labels": (
        {"task": "multi_label", "labels": ["hat", "glasses", "beard"]},
        [[0.1, 0.2, 0.05], [0.31, 0.9, 0.3], [1.0, 1.0, 1.0]],
    ),
    "pose": (
        {"task": "head_pose", "labels": []},
        [[-0.5, 0.5, 2.5, 1.5], [80.25, -33.125, 170.0, 9.99], [0, 0, -0.2, 3], [1, 2, 3, 15]],
    ),
    "boxes": (
        {"task": "detection", "labels": ["person", "hand"], "task_config": {"max_boxes": 3, "threshold": 0.3}},
        [
            [0.9, 0, 0.5, 0.25, 0.2, 0.4, 0.6, 1, 0.7, 0.5, 0.1, 0.1, 0.3, 1, 0.2, 0.2, 0.1, 0.1],
            [0.1, 0, 0.5, 0.25, 0.2, 0.4, *[0.0] * 12],
            [0.28, 0, 0.5, 0.25, 0.2, 0.4, *[0.0] * 12],
        ],
    ),
    "faces": (
        {"task": "detection", "labels": ["face"], "task_config": {"max_boxes": 1, "threshold": 0.5}},
        [[0.1, 0, 0.5, 0.25, 0.2, 0.4]],
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_what_people_read(name: str, make_metadata: Callable[..., ModelMetadata], in_browser: Job) -> None:
    changes, outputs = TASKS[name]
    metadata = make_metadata(**({"task_config": {}} | changes))
    task = tasks.of_file(metadata)
    values = metadata.model_dump(mode="json", by_alias=True) | {"task_config": task.config.model_dump(mode="json")}
    single = np.float32(outputs)
    for ours, output in zip(in_browser("answered", metadata=values, outputs=single), single, strict=True):
        shaped = output.reshape(task.output_shape)
        assert ours["wrong"] == task.check_outputs(shaped[None]) == ""
        assert tuple(ours["columns"]) == task.frame_columns
        reading, expected = ours["reading"], asdict(task.reading(shaped))
        assert (reading["title"], reading["colour"]) == (expected["title"], list(expected["colour"]))
        assert reading["bar"] == expected["bar"]
        assert numbers_of(reading["lines"]) == pytest.approx(numbers_of(expected["lines"]), abs=1e-9)
        *texts, last = task.frame_cells(shaped)
        assert ours["cells"][:-1] == texts
        assert json.loads(ours["cells"][-1]) == json.loads(last) if name == "boxes" else ours["cells"][-1] == last


def numbers_of(lines: list[dict[str, Any]]) -> list[float]:
    return [float(x) for line in lines for x in (*line["start"], *line["end"], *line["colour"])]


@pytest.mark.parametrize(
    ("changes", "output"),
    [({}, [1.5]), ({}, [-0.1]), ({"task": "head_pose", "labels": []}, [0, 400, 0, 1])],
)
def test_an_output_that_cannot_be(
    changes: dict[str, Any], output: list[float], make_metadata: Callable[..., ModelMetadata], in_browser: Job
) -> None:
    metadata = make_metadata(**({"task_config": {}} | changes))
    task = tasks.of_file(metadata)
    values = metadata.model_dump(mode="json", by_alias=True) | {"task_config": task.config.model_dump(mode="json")}
    (ours,) = in_browser("answered", metadata=values, outputs=[output])
    rule, _, got = ours["wrong"].partition(", got ")
    expected, _, value = task.check_outputs(np.reshape(output, (1, *task.output_shape))).partition(", got ")
    assert (rule, float(got)) == (expected, float(value))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("task", "gaze", "model: task: must be one of classification, detection, head_pose, multi_label, got 'gaze'"),
        ("layout", "spiral", "model: layout: must be one of still, frame_stack, lstm, cnn3d, got 'spiral'"),
        ("interpolation", "cubic", "model: interpolation: must be one of area, bilinear, bilinear_antialias, nearest"),
        ("height", 9, "model: must be a network that the browser can run: "),
    ],
)
def test_a_model_of_an_unknown_kind(
    key: str, value: object, message: str, make_linear: Linear, in_browser: Job
) -> None:
    path = make_linear("still", 1)
    model = model_of(path)
    changed = {"name": "model", "metadata": model["description"]["metadata"] | {key: value}}
    with pytest.raises(RuntimeError, match=re.escape(message)) as caught:
        in_browser("watched", model=model | {"description": changed}, detector=None, fps=None, frames=[])
    assert "\n" not in str(caught.value)


def test_numbers(in_browser: Job) -> None:
    values = [0.5, 1.5, 2.5, -0.5, -1.5, -0.2, -0.0, 0.125, 7.0078125, 1e6 + 0.5]
    seen = in_browser("numbers", values=values, digits=1, divisor=0.1)
    assert seen["rounded"] == [round(value) for value in values]
    assert seen["fixed"] == [f"{value:.1f}" for value in values]
    assert seen["divided"] == [value // 0.1 for value in values]


def test_crops(rng: np.random.Generator, in_browser: Job) -> None:
    image = rng.integers(0, 256, (31, 47, 3), np.uint8)
    boxes = rng.uniform(-0.2, 1.2, (30, 4)) ** (1, 1, 2, 2)
    rules = [CropRule(), CropRule(scale=1.4, offset_x=-0.1, offset_y=0.3, aspect=0.7)]
    cases = [(box, rule) for box in boxes.tolist() for rule in rules]
    ours = in_browser("crops", picture=image, cases=[{"box": box, "rule": rule.model_dump()} for box, rule in cases])
    for seen, (box, rule) in zip(ours, cases, strict=True):
        edges = crop_edges(box, (31, 47), rule)
        assert tuple(seen["edges"]) == edges
        np.testing.assert_array_equal(bytes_of(seen["data"]), cut(image, edges).ravel())


@pytest.mark.parametrize(("rate", "fps"), [(10.0, 30.0), (10.0, 25.0), (30.0, 10.0), (None, 30.0), (10.0, None)])
def test_a_window_of_frames(rate: float | None, fps: float | None, rng: np.random.Generator, in_browser: Job) -> None:
    instants = np.cumsum(rng.uniform(0.01, 0.06, 200) + 0.7 * (rng.random(200) < 0.05)).tolist()
    window = Window(3, rate, fps)
    expected = []
    for seconds in instants:
        takes = window.takes(seconds)
        if takes:
            window.push(np.float64(seconds))
        expected.append([takes, window.missing == 0, window.stack().tolist() if takes else expected[-1][2]])
    assert in_browser("taken", frames=3, frameRate=rate, fps=fps, instants=instants) == expected


def test_who_is_who(rng: np.random.Generator, in_browser: Job) -> None:
    """People walk at random, some are missed, and the order of boxes changes."""
    places, speeds = rng.uniform(0.2, 0.8, (4, 2)), rng.normal(0, 0.5, (4, 2))
    frames, seconds = [], 0.0
    for _ in range(300):
        step = float(rng.choice([0.04, 0.1, 0.3]))
        seconds, places = seconds + step, (places + speeds * step + rng.normal(0, 0.02, (4, 2))) % 1
        boxes = np.column_stack([places, np.full((4, 2), 0.2)])[rng.permutation(4)]
        frames.append({"boxes": boxes[: rng.integers(2, 5)], "seconds": seconds})
    tracker = Tracker()
    expected = [(tracker.follow(**frame), tracker.identities) for frame in frames]
    ours = in_browser("followed", memory=1.0, frames=frames)
    assert [(identities, set(remembered)) for identities, remembered in ours] == expected
    assert 4 < tracker.count < 300


@pytest.mark.parametrize("form", ["face", *SHIPPED])
def test_boxes_of_a_detector(form: str, shared: Path, in_browser: Job) -> None:
    source = form if form == "face" else str(shared / "models" / SHIPPED[form])
    if form in SHIPPED and not Path(source).is_file():
        pytest.skip(f"needs {source}")
    pictures = frames_of(shared, (40,), CLIPS)
    pictures += [np.ascontiguousarray(pictures[0][:, 100:260]), np.full((7, 90, 3), 120, np.uint8)]
    detector = detectors.load(source)
    seen = in_browser("found", **detector_of(source), pictures=pictures)
    assert seen["what"] == detector.what
    expected = [detector.find(image) for image in pictures]
    assert [len(boxes) for boxes in seen["boxes"]] == [len(boxes) for boxes in expected]
    assert sum(map(len, expected)) > len(CLIPS)
    for ours, theirs in zip(seen["boxes"], expected, strict=True):
        np.testing.assert_allclose(np.reshape(ours, (-1, 5)), theirs, atol=1e-4)


def test_boxes_as_differences_from_fixed_ones(tmp_path: Path, rng: np.random.Generator, in_browser: Job) -> None:
    count = 4420  # of UltraFace's at 320x240
    scores = np.column_stack([np.zeros(count), rng.random(count) ** 30]).astype(np.float32)
    outputs = {"scores": scores[None], "boxes": rng.normal(0, 1, (1, count, 4)).astype(np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            *(helper.make_node("Add", [f"all_{name}", "nothing"], [name]) for name in outputs),
        ],
        "differences",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 240, 320])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in outputs.items()],
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            *(numpy_helper.from_array(array, f"all_{name}") for name, array in outputs.items()),
        ],
    )
    path = tmp_path / "differences.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    image = np.zeros((40, 60, 3), np.uint8)
    expected = detectors.load(str(path)).find(image)
    assert len(expected) > 5
    np.testing.assert_allclose(in_browser("found", **detector_of(path), pictures=[image])["boxes"][0], expected, 1e-5)


def test_boxes_of_a_model_of_whc(box_model: Callable[..., Path], in_browser: Job) -> None:
    path = box_model([[0.9, 0, 0.3, 0.5, 0.2, 0.4], [0.6, 1, 0.7, 0.5, 0.1, 0.1], [0.1, 0, 0.5, 0.9, 0.1, 0.1]])
    image = np.zeros((40, 60, 3), np.uint8)
    for label in (None, "hand"):
        detector = detectors.load(str(path), Settings(label=label))
        seen = in_browser("found", **detector_of(path, label), pictures=[image])
        assert seen["what"] == detector.what
        np.testing.assert_allclose(seen["boxes"][0], detector.find(image), atol=1e-6)


def test_people_of_a_clip(shared: Path, make_linear: Linear, in_browser: Job) -> None:
    """Each person has a window of frames of its own."""
    file = shared / "models" / SHIPPED["yunet"]
    if not file.is_file():
        pytest.skip(f"needs {file}")
    path = make_linear("lstm", 2)
    frames = frames_of(shared, range(0, 24, 3), ["head-pose-face-detection-female-and-male.mp4"])
    frames[4] = np.zeros_like(frames[4])  # nobody is seen for a while
    model = models.load(path)
    watch = people.watch_people(model, people.look_for(model, people.Finder(detectors.load(str(file)))), 10.0)
    seen = in_browser("watched", model=model_of(path), detector=detector_of(file), fps=10.0, frames=at_rate(frames, 10))
    assert [frame["title"]["title"] for frame in seen[3:5]] == ["2 faces", "no face found"]
    for number, (image, frame) in enumerate(zip(frames, seen, strict=True)):
        expected = watch(image, number / 10)
        assert [ours["identity"] for ours in frame["sightings"]] == [
            one.found.identity for one in expected if one.found
        ]
        for ours, theirs in zip(frame["sightings"], expected, strict=True):
            np.testing.assert_allclose(ours["edges"], theirs.edges, atol=1)
            assert ours["isFresh"] == theirs.is_fresh
            if theirs.verdict:
                assert ours["output"] == pytest.approx([float(theirs.verdict.output)], abs=1e-2)
                assert ours["tag"] == f"#{ours['identity']} {ours['reading']['title']}"


@pytest.mark.parametrize("crop", [None, CropRule(detector="face"), CropRule()])
def test_a_complete_picture_is_hardly_a_crop(crop: CropRule | None, make_linear: Linear, in_browser: Job) -> None:
    path = make_linear("still", 1, crop=crop)
    images = [np.zeros((40, 60, 3), np.uint8), np.zeros((40, 61, 3), np.uint8)]
    model = models.load(path)
    seen = in_browser("watched", model=model_of(path), detector=None, fps=None, frames=at_rate(images, 1))
    assert [frame["warning"] for frame in seen] == [people.doubt(image, model) for image in images]


def test_boxes_are_not_looked_for_in_boxes(box_model: Callable[..., Path], in_browser: Job) -> None:
    path = box_model([[0.9, 0, 0.3, 0.5, 0.2, 0.4]])
    with pytest.raises(RuntimeError, match="boxes: must say something of each box, not find boxes itself"):
        in_browser("watched", model=model_of(path), detector=detector_of(path), fps=None, frames=[])


def test_a_browser_with_simd(in_browser: Job) -> None:
    assert in_browser("simd") is True
