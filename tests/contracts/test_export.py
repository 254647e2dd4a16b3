"""Every exporter writes what the network computes; the ONNX one for every backbone, head, sequence and colour."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from whc import models, plugins
from whc.errors import UsageError
from whc.export import converter
from whc.export import onnx as onnx_exporter
from whc.models.assemble import ModelConfig, build
from whc.models.color import Color
from whc.records import ModelMetadata
from whc.runtimes import choose_for, onnxruntime_cpu
from whc.tasks.classification import Classification, Config

KIND = "export"
HEADS = [
    name
    for name in plugins.names("models.heads")
    if getattr(plugins.load("models.heads", name), "GIVES", "numbers") == "numbers"
]
TWO, THREE = (Classification(labels, Config()) for labels in (("still", "waving"), ("left", "right", "none")))
Describe = Callable[[ModelConfig, Classification], ModelMetadata]
Season = Callable[[nn.Module, tuple[int, ...]], nn.Module]


def combinations() -> list[tuple[str, str, str, str]]:
    """Every backbone with every head; sequences and colours take turns, so that each of their pairs comes up too."""
    networks = list(product(plugins.names("models.backbones"), HEADS))
    inputs = list(product(plugins.names("models.sequence"), get_args(Color)))
    count = max(len(networks), len(inputs))
    pairs = zip(islice(cycle(networks), count), islice(cycle(inputs), count), strict=True)
    return [(*network, *given) for network, given in pairs]


@pytest.fixture
def describe(make_metadata: Callable[..., ModelMetadata]) -> Describe:
    """Call with a network's configuration and its task."""

    def described(config: ModelConfig, task: Classification) -> ModelMetadata:
        height, width = config.image_size
        own = {"layout": config.layout, "frames": config.frames, "height": height, "width": width}
        return make_metadata(labels=list(task.labels), **own)

    return described


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("name", plugins.names(KIND))
def test_config(name: str, check_config: Callable[[str, str], None]) -> None:
    check_config(KIND, name)


def inputs(config: ModelConfig, count: int) -> np.ndarray:
    """Noise of different brightness, a black input and a white one."""
    rng = np.random.default_rng(0)
    shape = (count, *config.input_shape)
    noise = rng.random(shape, np.float32) * rng.random((count, *(1 for _ in config.input_shape)), np.float32)
    return np.concatenate([noise, np.zeros_like(noise[:1]), np.ones_like(noise[:1])])


@pytest.mark.parametrize("name", plugins.names(KIND))
def test_writes_one_complete_file_and_leaves_the_network_alone(
    name: str, tmp_path: Path, describe: Describe, season: Season
) -> None:
    module: Any = plugins.load(KIND, name)
    if module.SUFFIX == ".tflite":
        pytest.importorskip("ai_edge_litert", reason="needs the extra litert")
        try:
            converter.require()
        except UsageError as error:
            pytest.skip(str(error))
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"width": 4, "depth": 2, "image_size": 16})
    network = season(build(config, 1), config.input_shape).train()
    before = weights(network)
    path = tmp_path / f"artifact{module.SUFFIX}"
    path.write_bytes(b"an older file")
    calibration = inputs(config, 20) if module.NEEDS_CALIBRATION else None
    module.export(network, TWO, path, describe(config, TWO), config.input_shape, module.Config(), calibration)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert network.training
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())

    runtime = choose_for([path])
    session = plugins.load("runtimes", runtime.name).load(path, runtime.config)
    assert session.metadata() == describe(config, TWO)
    assert session.input_shape == (1, *config.input_shape)
    images = inputs(config, 9)
    with torch.inference_mode():
        expected = TWO.decoded(network.eval()(torch.from_numpy(images))).numpy()
    np.testing.assert_allclose(session.run(images), expected, atol=0.1 if module.NEEDS_CALIBRATION else 1e-5)
    assert expected.std() > 0.1, "probabilities that hardly differ prove nothing"
    for text in (b"site-packages", str(Path.cwd()).encode(), str(tmp_path).encode()):
        assert text not in path.read_bytes()


def test_no_network_has_an_activation_that_integers_compute_slowly() -> None:
    """LiteRT computes hard-swish in floats within int8 files, six times slower: no search may draw it."""
    sources = [path.read_text("utf-8").lower() for path in Path(models.__file__).parent.rglob("*.py")]
    assert sources
    assert not [source for source in sources if "hardswish" in source or "hard_swish" in source]


@pytest.mark.parametrize(("backbone", "head", "sequence", "color"), combinations())
def test_onnx_computes_what_the_network_does(
    tmp_path: Path, season: Season, describe: Describe, backbone: str, head: str, sequence: str, color: str
) -> None:
    torch.manual_seed(0)
    config = ModelConfig.model_validate(
        {
            "backbone": backbone,
            "head": head,
            "sequence": sequence,
            "color": color,
            "width": 6,
            "depth": 3,
            "image_size": "16x24",
        }
    )
    network = season(build(config, 1), config.input_shape)
    path = tmp_path / "model.onnx"
    onnx_exporter.export(network, TWO, path, describe(config, TWO), config.input_shape, onnx_exporter.Config())

    model = onnx.load(path)
    assert [item.name for item in model.graph.input] == ["images"]
    assert [item.name for item in model.graph.output] == ["prob_waving"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param, "the batch must be dynamic"
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    for text in (b"site-packages", b"/whc/", str(Path.cwd()).encode(), str(tmp_path).encode()):
        assert text not in path.read_bytes()

    session = onnxruntime_cpu.load(path, onnxruntime_cpu.Config())
    assert session.metadata() == describe(config, TWO)
    assert session.input_shape == (1, *config.input_shape)
    with torch.inference_mode():
        for batch in (1, 7):
            images = torch.rand(batch, *config.input_shape) * torch.rand(batch, *(1 for _ in config.input_shape))
            expected = TWO.decoded(network(images)).numpy()
            np.testing.assert_allclose(session.run(images.numpy()), expected, atol=1e-5)
    assert expected.std() > 1e-4, "probabilities that hardly differ prove nothing"


@pytest.mark.parametrize("head", HEADS)
def test_onnx_gives_several_classes_a_probability_each(
    tmp_path: Path, season: Season, describe: Describe, head: str
) -> None:
    """The head alone knows how many there are."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"head": head, "width": 4, "depth": 1, "image_size": "16x24"})
    network = season(build(config, THREE.outputs), config.input_shape)
    path = tmp_path / "model.onnx"
    onnx_exporter.export(network, THREE, path, describe(config, THREE), config.input_shape, onnx_exporter.Config())

    (output,) = onnx.load(path).graph.output
    assert output.name == "probs"
    assert output.type.tensor_type.shape.dim[1].dim_value == 3
    session = onnxruntime_cpu.load(path, onnxruntime_cpu.Config())
    assert session.metadata() == describe(config, THREE)
    images = torch.rand(7, *config.input_shape) * torch.rand(7, 1, 1, 1)
    given = session.run(images.numpy())
    assert given.shape == (7, 3)
    np.testing.assert_allclose(given.sum(1), 1, atol=1e-5)
    with torch.inference_mode():
        np.testing.assert_allclose(given, THREE.decoded(network(images)).numpy(), atol=1e-5)
    assert given.std(0).min() > 1e-3, "probabilities that hardly differ prove nothing"
