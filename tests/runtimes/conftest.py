"""ONNX files of every kind that a runtime may meet: tiny ones by hand, and what the exporter makes of networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from whc import tasks
from whc.export import onnx as exporter
from whc.models.assemble import ModelConfig
from whc.models.assemble import build as network
from whc.records import ModelMetadata

Build = Callable[..., Path]
Describe = Callable[..., ModelMetadata]

# Every backbone, head and layout.
NETWORKS = {
    "still": {"backbone": "baseline", "head": "avgmax_mlp"},
    "stack": {"backbone": "inverted_se", "head": "mlp_mixer", "sequence": "frame_stack"},
    "convnext": {"backbone": "convnext", "head": "transformer"},
    "lstm": {"backbone": "baseline", "head": "avg", "sequence": "lstm"},
    "cnn3d": {"sequence": "cnn3d"},
}


@pytest.fixture
def metadata(make_metadata: Describe) -> ModelMetadata:
    return make_metadata(labels=["neutral", "lächelnd"], task_config={"threshold": 0.4}, height=4, width=6)


@pytest.fixture
def build(tmp_path: Path, metadata: ModelMetadata) -> Build:
    """Writes m.onnx, whose output is the mean of each image."""

    def write(
        shape: Sequence[int | str | None] = ("batch", 3, 4, 6),
        properties: dict[str, str] | None = None,
        extra_input: bool = False,
        operator: str = "ReduceMean",
    ) -> Path:
        inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, list(shape))]
        if extra_input:
            inputs.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
        graph = helper.make_graph(
            [helper.make_node(operator, ["images", "axes"], ["prob"], keepdims=0)],
            "mean",
            inputs,
            [helper.make_tensor_value_info("prob", TensorProto.FLOAT, [shape[0]])],
            [helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        helper.set_model_props(model, metadata.to_properties() if properties is None else properties)
        onnx.save(model, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    return write


@pytest.fixture(scope="session", params=NETWORKS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_metadata: Describe) -> Path:
    """A network as the exporter writes it, with weights of which the output depends on the input."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate(NETWORKS[request.param] | {"width": 6, "depth": 1, "image_size": "16x24"})
    whole = network(config, 1)
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        whole.train()
        for _ in range(5):  # statistics for BatchNorm
            whole(torch.rand(16, *config.input_shape))
    height, width = config.image_size
    described = make_metadata(layout=config.layout, frames=config.frames, height=height, width=width)
    path = tmp_path_factory.mktemp("exported") / f"{request.param}.onnx"
    exporter.export(whole.eval(), tasks.of_file(described), path, described, config.input_shape, exporter.Config())
    return path
