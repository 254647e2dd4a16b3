"""ONNX: folded, exported, simplified, with everything a runner needs in its metadata."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxsim
import torch
from pydantic import Field
from torch import Tensor, nn

from whc import plugins
from whc.export.fold import fold
from whc.plugins import PluginConfig
from whc.records import ModelMetadata

INPUT = "images"

log = logging.getLogger(__name__)


class Config(PluginConfig):
    """`opset`: version of the operator set; the exporter gives 18 or higher."""

    opset: int = Field(18, ge=18, le=23)


class _Probabilities(nn.Module):
    """The network with its task's decoding of logits inside."""

    def __init__(self, network: nn.Module, probabilities: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.probabilities = probabilities

    def forward(self, images: Tensor) -> Tensor:
        return self.probabilities(self.network(images))


def export(
    network: nn.Module, path: Path, metadata: ModelMetadata, input_shape: tuple[int, ...], config: Config
) -> None:
    """Write `network` as an ONNX file: input `images` (N, *input_shape), output as the task names it, any batch size.

    The file is renamed into place when it is complete.
    """
    task = plugins.load("tasks", metadata.task)
    whole = _Probabilities(fold(network).cpu(), task.probabilities).eval()
    temporary = path.with_name(f".{path.name}.tmp")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names operators of packages we do not use
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter, nothing a caller can mend
        torch.onnx.export(
            whole,
            (torch.zeros(2, *input_shape),),
            str(temporary),
            dynamo=True,
            input_names=[INPUT],
            output_names=[task.output_name(metadata.labels)],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=config.opset,
            external_data=False,
            verbose=False,
        )
    model = _simplify(onnx.load(str(temporary)), path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata.to_properties())
    onnx.checker.check_model(model)
    onnx.save(model, str(temporary))
    temporary.replace(path)


def _simplify(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    try:
        simplified, _ = onnxsim.simplify(model)
    except (RuntimeError, ValueError) as error:
        log.warning("%s: onnxsim could not simplify the graph (%s); the plain graph is kept", path, error)
        simplified = model
    # Stack traces and the paths of the machine that exported: of no use to a runner.
    for item in (*simplified.graph.node, *simplified.graph.initializer, *simplified.graph.input):
        del item.metadata_props[:]
        item.doc_string = ""
    for output in simplified.graph.output:
        del output.metadata_props[:]
    del simplified.graph.metadata_props[:]
    del simplified.graph.value_info[:]
    return simplified
