"""What an exported ONNX file says of itself, and what happens when a step fails."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import onnxsim
import pytest
import torch

from whc import plugins
from whc.config import Settings, validate
from whc.errors import ArtifactError, UsageError
from whc.export import onnx as exporter
from whc.models.assemble import ModelConfig, build
from whc.plugins import Choice, ChoiceOf
from whc.records import ModelMetadata
from whc.runtimes import onnxruntime_cpu
from whc.tasks.classification import Classification
from whc.tasks.classification import Config as TaskConfig

CONFIG = ModelConfig.model_validate({"width": 4, "depth": 1, "image_size": "16x12"})
TASK = Classification(("neutral", "lächelnd"), TaskConfig())
Export = Callable[..., torch.nn.Module]


class Job(Settings):
    export: Annotated[Choice, ChoiceOf("export")]


@pytest.fixture
def metadata(make_metadata: Callable[..., ModelMetadata]) -> ModelMetadata:
    origin = {"study": "wave", "trial": "t1", "data_fingerprint": "0123"}
    labels = ["neutral", "lächelnd"]
    return make_metadata(labels=labels, task_config={"threshold": 0.4}, height=16, width=12, **origin)


@pytest.fixture
def export(metadata: ModelMetadata) -> Export:
    """Exports a small network to a path, and gives the network."""

    def write(path: Path, config: exporter.Config | None = None, model: ModelConfig = CONFIG) -> torch.nn.Module:
        torch.manual_seed(0)
        network = build(model, 1).eval()
        described = metadata.model_copy(update={"layout": model.layout, "frames": model.frames})
        exporter.export(network, TASK, path, described, model.input_shape, config or exporter.Config())
        return network

    return write


def test_metadata_and_nothing_of_the_machine_that_exported(
    tmp_path: Path, export: Export, metadata: ModelMetadata
) -> None:
    export(tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    properties = {item.key: item.value for item in model.metadata_props}
    assert properties == metadata.to_properties()
    assert ModelMetadata.from_properties(properties, "model.onnx") == metadata
    assert not model.doc_string
    assert not model.graph.doc_string
    for item in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        assert not item.doc_string
        assert not item.metadata_props
    assert not model.functions
    assert model.opset_import[0].version == 18


def raising(error: Exception) -> Callable[..., object]:
    def simplify(*args: object, **kwargs: object) -> object:
        raise error

    return simplify


def wrongly_simplified(model: onnx.ModelProto, **kwargs: object) -> tuple[onnx.ModelProto, bool]:
    """What onnxsim gives when its own check finds another output: here of a network whose weights are gone."""
    broken = onnx.ModelProto.FromString(model.SerializeToString())
    for weights in broken.graph.initializer:
        weights.raw_data = bytes(len(weights.raw_data))
    return broken, False


@pytest.mark.parametrize(
    ("simplify", "reason"),
    [
        (raising(RuntimeError("cannot infer")), "cannot infer"),
        (raising(ValueError("odd graph")), "odd graph"),
        (raising(onnx.checker.ValidationError("no node")), "no node"),
        (raising(onnx.shape_inference.InferenceError("no shape")), "no shape"),
        (wrongly_simplified, "what it made computes something else"),
    ],
)
def test_a_graph_that_cannot_be_simplified_is_kept_plain(
    tmp_path: Path,
    export: Export,
    metadata: ModelMetadata,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    simplify: Callable[..., object],
    reason: str,
) -> None:
    monkeypatch.setattr(onnxsim, "simplify", simplify)
    path = tmp_path / "model.onnx"
    with caplog.at_level(logging.WARNING, "whc"):
        network = export(path)
    assert f"{path}: onnxsim could not simplify the graph ({reason}); the plain graph is kept" in caplog.text
    session = onnxruntime_cpu.load(path, onnxruntime_cpu.Config())
    assert session.metadata() == metadata
    images = torch.rand(3, *CONFIG.input_shape)
    with torch.inference_mode():
        expected = TASK.decoded(network(images)).numpy()
    np.testing.assert_allclose(session.run(images.numpy()), expected, atol=1e-5)
    for text in (b"site-packages", b"/whc/", str(tmp_path).encode()):
        assert text not in path.read_bytes()


def test_nothing_is_told_when_all_goes_well(
    tmp_path: Path, export: Export, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.WARNING, "whc"):
        export(tmp_path / "model.onnx")
    assert not [record for record in caplog.records if record.name.startswith("whc")]
    assert capfd.readouterr() == ("", "")


def test_a_failed_export_leaves_the_older_file(tmp_path: Path, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: onnx.ModelProto) -> None:
        raise onnx.checker.ValidationError("broken")

    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")
    monkeypatch.setattr(onnx.checker, "check_model", fail)
    with pytest.raises(onnx.checker.ValidationError):
        export(path)
    assert path.read_bytes() == b"older"


def test_a_file_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path: Path, export: Export) -> None:
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(IsADirectoryError):
        export(tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("opset", [11, 17, 26, "new"])
def test_opsets_that_are_refused_name_their_key(opset: object) -> None:
    with pytest.raises(UsageError, match=r"^f\.yaml: export\.onnx\.opset: must be .*, got .*; change the value$"):
        validate(Job, {"export": {"onnx": {"opset": opset}}}, "f.yaml")


@pytest.mark.parametrize("opset", [18, 21, 25])
def test_the_opset_asked_for_is_the_one_written(tmp_path: Path, export: Export, opset: int) -> None:
    path = tmp_path / "model.onnx"
    network = export(path, exporter.Config(opset=opset))
    assert [(item.domain, item.version) for item in onnx.load(path).opset_import] == [("", opset)]
    images = torch.rand(3, *CONFIG.input_shape)
    with torch.inference_mode():
        expected = TASK.decoded(network(images)).numpy()
    session = onnxruntime_cpu.load(path, onnxruntime_cpu.Config())
    np.testing.assert_allclose(session.run(images.numpy()), expected, atol=1e-5)


def test_an_opset_that_is_silently_changed_is_refused(tmp_path: Path, export: Export) -> None:
    """Beyond what the exporter can convert to it writes 18, and says so in a log alone."""
    unchecked = exporter.Config.model_construct(opset=99)
    with pytest.raises(ArtifactError, match=r"model\.onnx: must have opset 99, got \{'': 18\}; choose another opset$"):
        export(tmp_path / "model.onnx", unchecked)
    assert not list(tmp_path.iterdir())


def sizes(path: Path) -> list[list[int | str]]:
    graph = onnx.load(path).graph
    return [
        [size.dim_param or size.dim_value for size in item.type.tensor_type.shape.dim]
        for item in (*graph.input, *graph.output)
    ]


def moving(sequence: str, differences: bool = False, **changes: object) -> ModelConfig:
    parameters = {"frames": 3, "differences": differences}
    small = {"width": 4, "depth": 2, "image_size": "16x12", "sequence": {sequence: parameters}}
    return ModelConfig.model_validate({**small, **changes})


@pytest.mark.parametrize("differences", [False, True])
@pytest.mark.parametrize("sequence", ["frame_stack", "lstm", "cnn3d"])
def test_a_static_file_has_no_open_size(tmp_path: Path, export: Export, sequence: str, differences: bool) -> None:
    config = moving(sequence, differences, color="luma")
    path = tmp_path / "model.onnx"
    network = export(path, exporter.Config(static=True), config)
    assert sizes(path) == [[1, *config.input_shape], [1]]
    session = onnxruntime_cpu.load(path, onnxruntime_cpu.Config())
    assert session.input_shape == (1, *config.input_shape)
    images = torch.rand(3, *config.input_shape)
    with torch.inference_mode():
        expected = TASK.decoded(network(images)).numpy()
    np.testing.assert_allclose(session.run(images.numpy()), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("sequence", "changes"),
    [
        ("lstm", {}),
        ("lstm", {"backbone": "convnext", "color": "luv"}),
        ("lstm", {"backbone": "inverted_se", "color": "luma"}),
        ("cnn3d", {}),
        ("cnn3d", {"color": "lab"}),
        ("lstm", {"differences": True, "color": "luma"}),
        ("cnn3d", {"differences": True}),
    ],
)
def test_a_dynamic_sequence_takes_any_number_of_frames(
    tmp_path: Path, export: Export, sequence: str, changes: dict[str, Any]
) -> None:
    config = moving(sequence, **changes)
    path = tmp_path / "model.onnx"
    network = export(path, exporter.Config(dynamic_sequence=True), config)
    axis = {"lstm": 0, "cnn3d": 1}[sequence]
    shape: list[int | str] = list(config.input_shape)
    shape[axis] = "frames"
    assert sizes(path) == [["batch", *shape], ["batch"]]
    assert [node.op_type for node in onnx.load(path).graph.node].count("LSTM") == (sequence == "lstm")
    session = onnxruntime_cpu.load(path, onnxruntime_cpu.Config())
    assert session.input_shape == (1, *config.input_shape), "the metadata say how many it learnt with"
    fewest = 2 if changes.get("differences") else 1
    for batch, frames in ((1, fewest), (1, 3), (2, 7)):
        shape[axis] = frames
        images = torch.rand(batch, *map(int, shape))
        with torch.inference_mode():
            expected = TASK.decoded(network(images)).numpy()
        np.testing.assert_allclose(session.run(images.numpy()), expected, atol=1e-5)


@pytest.mark.parametrize("sequence", ["none", "frame_stack"])
def test_a_dynamic_sequence_needs_a_network_over_time(tmp_path: Path, export: Export, sequence: str) -> None:
    config = CONFIG if sequence == "none" else moving(sequence)
    rule = (
        r"^export: dynamic_sequence: needs a network that takes any number of frames \(lstm, cnn3d\), got '\w+'; leave"
    )
    with pytest.raises(UsageError, match=rule):
        export(tmp_path / "m", exporter.Config(dynamic_sequence=True), config)
    assert not list(tmp_path.iterdir())


def test_static_and_dynamic_exclude_each_other() -> None:
    with pytest.raises(
        UsageError, match=r"^export: static and dynamic_sequence exclude each other, got both; choose one$"
    ):
        validate(exporter.Config, {"static": True, "dynamic_sequence": True}, "export")


@pytest.mark.parametrize("backbone", plugins.names("models.backbones"))
def test_global_means_take_the_blocked_layout_as_it_comes(tmp_path: Path, export: Export, backbone: str) -> None:
    """ONNX Runtime pools in its own layout; for a ReduceMean it would leave that and come back."""
    config = ModelConfig.model_validate({"backbone": backbone, "head": "avgmax_mlp", "width": 4, "depth": 2})
    path = tmp_path / "model.onnx"
    export(path, model=config)
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert kinds["GlobalAveragePool"] == {"inverted_se": 3, "efficientnet": 3}.get(backbone, 1)
    assert not kinds["ReduceMean"]


def test_onnx_runtime_finds_the_gelu_again(tmp_path: Path, export: Export) -> None:
    config = ModelConfig.model_validate({"backbone": "convnext", "width": 4, "depth": 2})
    path, optimised = tmp_path / "model.onnx", tmp_path / "optimised.onnx"
    export(path, model=config)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(optimised)
    options.log_severity_level = 4  # it warns that the file suits this machine alone
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(optimised).graph.node)
    assert kinds["Gelu"] == 2
    assert not kinds["Erf"]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("backbone.stem.0.weight", float("nan"), "every weight must be a finite number, got 'NaN or infinity in "),
        ("head.layers.2.bias", float("inf"), "every weight must be a finite number, got 'NaN or infinity in "),
        ("backbone.stem.1.running_var", -1.0, "cannot be written: every "),
        ("backbone.stem.0.weight", 3e38, "every output must be a finite number, got ["),
    ],
)
def test_a_network_that_gives_no_numbers_is_refused(
    tmp_path: Path, metadata: ModelMetadata, name: str, value: float, told: str
) -> None:
    network = build(CONFIG, 1).eval()
    with torch.no_grad():
        weights = network.state_dict()[name]
        weights.copy_(torch.where(torch.arange(weights.numel()).view(weights.shape) % 2 == 0, value, -value))
    path = tmp_path / "model.onnx"
    with pytest.raises(ArtifactError) as caught:
        exporter.export(network, TASK, path, metadata, CONFIG.input_shape, exporter.Config())
    assert str(caught.value).startswith(f"{path}: cannot be written: ")
    assert told in str(caught.value)
    assert list(tmp_path.iterdir()) == []
