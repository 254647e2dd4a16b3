"""ONNX files: folded, exported, simplified, with all that a runner needs in their metadata."""

from __future__ import annotations

import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import onnxsim
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import nn

from whc.errors import ArtifactError, UsageError, problem
from whc.export.finite import check_finite
from whc.export.fold import fold
from whc.export.operators import OPERATOR_TRANSLATIONS, as_operators
from whc.plugins import PluginConfig
from whc.records import ModelMetadata, replacing
from whc.tasks import Task

SUFFIX = ".onnx"
NEEDS_CALIBRATION = False
INPUT_NAME = "images"
# Axis of the frames in the input (with its batch), for layouts whose networks take any number of frames.
FRAMES_AXIS = {"lstm": 1, "cnn3d": 2}
_CANNOT_SIMPLIFY = (RuntimeError, ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError)

log = logging.getLogger(__name__)


class Config(PluginConfig):
    """How the file is made.

    `opset` is the version of the operator set. `static` fixes every size, with a batch of 1. `dynamic_sequence` leaves
    the number of frames open. By default only the batch is open.
    """

    opset: int = Field(18, ge=18, le=25)
    static: bool = False
    dynamic_sequence: bool = False

    @model_validator(mode="after")
    def _not_both(self) -> Config:
        if self.static and self.dynamic_sequence:
            raise ValueError("static and dynamic_sequence exclude each other, got both; choose one")
        return self


def check_installed() -> None:
    """What whc needs is all that is needed."""


def export(
    network: nn.Module,
    task: Task,
    path: Path,
    metadata: ModelMetadata,
    input_shape: tuple[int, ...],
    config: Config,
    calibration: NDArray[np.float32] | None = None,
) -> None:
    """Write `network` as an ONNX file: input `images` (N, *input_shape), output as the task names it.

    The file is renamed into place when it is complete; a failed export leaves no file.

    Raises:
        UsageError: `dynamic_sequence` is set for a network that takes a fixed number of frames.
        ArtifactError: the network gives NaN or infinity, or the exporter does not support the operator set.
    """
    del calibration
    folded_network = as_operators(fold(network)).cpu().eval()
    check_finite(folded_network, path, input_shape)  # before decoding, which may give NaN for what was not learnt
    decoded_network = task.finished(folded_network).eval()
    open_sizes = _open_sizes(metadata.layout, config)
    plain = _trace(decoded_network, task.output_name, input_shape, open_sizes, config.opset)
    model = _without_traces(_simplify(plain, path, (1, *input_shape)))
    _check(model, path, open_sizes, config.opset)
    onnx.helper.set_model_props(model, metadata.to_properties())
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))


def _open_sizes(layout: str, config: Config) -> dict[int, str]:
    """Names of the input's open sizes, by axis; runtimes recognise `frames` by this name."""
    if config.static:
        return {}
    if not config.dynamic_sequence:
        return {0: "batch"}
    if layout not in FRAMES_AXIS:
        rule = f"needs a network that takes any number of frames ({', '.join(FRAMES_AXIS)})"
        raise UsageError(problem("export: dynamic_sequence", rule, layout, "leave it out"))
    return {0: "batch", FRAMES_AXIS[layout]: "frames"}


def _trace(
    network: nn.Module, output: str, input_shape: tuple[int, ...], open_sizes: dict[int, str], opset: int
) -> onnx.ModelProto:
    """The graph, before it is simplified."""
    images = torch.zeros(2 if open_sizes else 1, *input_shape)  # the exporter treats a size of 1 as fixed
    dynamic = {axis: torch.export.Dim(name) for axis, name in open_sizes.items()}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns about packages that we do not use
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter, which a caller cannot fix
        program = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            input_names=[INPUT_NAME],
            output_names=[output],
            dynamic_shapes=(dynamic,) if dynamic else None,
            opset_version=opset,
            custom_translation_table=OPERATOR_TRANSLATIONS,
            verbose=False,
        )
    assert program is not None  # noqa: S101 (with dynamo=True there is one)
    return program.model_proto


def _simplify(plain: onnx.ModelProto, path: Path, checked_shape: tuple[int, ...]) -> onnx.ModelProto:
    """The graph with fewer operations, if it computes the same on a random input of `checked_shape`."""
    try:
        with redirect_stdout(None):  # it prints its progress
            simplified, is_same = onnxsim.simplify(
                plain, check_n=1, test_input_shapes={INPUT_NAME: list(checked_shape)}
            )
    except _CANNOT_SIMPLIFY as error:
        reason = str(error)
    else:
        if is_same:
            return simplified
        reason = "what it made computes something else"
    log.warning("%s: onnxsim could not simplify the graph (%s); the plain graph is kept", path, reason)
    return plain


def _check(model: onnx.ModelProto, path: Path, open_sizes: dict[int, str], opset: int) -> None:
    """Refuse a file in which the exporter ignored a setting, since it only logs that."""
    opsets = {item.domain: item.version for item in model.opset_import}
    if opsets != {"": opset}:
        raise ArtifactError(problem(str(path), f"must have opset {opset}", opsets, "choose another opset"))
    shape = model.graph.input[0].type.tensor_type.shape.dim
    left_open = {axis: size.dim_param for axis, size in enumerate(shape) if size.dim_param}
    if left_open != open_sizes:
        rule = f"must leave {sorted(open_sizes.values())} open"
        raise ArtifactError(problem(str(path), rule, left_open, "export it with fixed sizes"))
    onnx.checker.check_model(model)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove stack traces and paths of the exporting machine, which no runner needs."""
    graph = model.graph
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del item.metadata_props[:]
        item.doc_string = ""
    for properties in (graph.metadata_props, graph.value_info, model.metadata_props):
        del properties[:]
    return model
