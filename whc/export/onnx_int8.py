"""ONNX files in int8: static, with a scale for each channel of the weights; input and output stay float32."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from whc.errors import ArtifactError
from whc.export import onnx as plain
from whc.plugins import PluginConfig
from whc.records import ModelMetadata, replacing
from whc.tasks import Task

SUFFIX = ".onnx"
NEEDS_CALIBRATION = True


class Config(PluginConfig):
    """There is nothing to choose."""


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
    """Write `network` as an ONNX file of integers, whose ranges are those that it gives for `calibration`.

    Raises:
        ArtifactError: the network gives NaN or infinity, or ONNX Runtime cannot quantise it.
    """
    del config
    if calibration is None:
        raise ValueError("calibration must be inputs of the network, got None")
    with tempfile.TemporaryDirectory(prefix="whc-int8-") as scratch:
        float_file, int8_file = Path(scratch) / "float32.onnx", Path(scratch) / "int8.onnx"
        plain.export(network, task, float_file, metadata, input_shape, plain.Config())
        _quantise(float_file, int8_file, calibration, path)
        model = onnx.load(int8_file)
        onnx.helper.set_model_props(model, metadata.to_properties())
        with replacing(path) as temporary:
            onnx.save(model, str(temporary))


def _quantise(source: Path, target: Path, calibration: NDArray[np.float32], path: Path) -> None:
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Gives one input after the other."""

        def __init__(self) -> None:
            self._inputs: Iterator[NDArray[np.float32]] = iter(calibration)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            given = next(self._inputs, None)
            return None if given is None else {plain.INPUT_NAME: given[None]}

    logging.getLogger().addFilter(_is_no_advice)
    try:
        quantization.quantize_static(
            str(source),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ArtifactError(f"{path}: ONNX Runtime must be able to quantise the network, got: {reason}") from error
    finally:
        logging.getLogger().removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    """Whether a line is not ONNX Runtime's advice to simplify a graph first, which the exporter has done."""
    return "pre-processing before quantization" not in record.getMessage()
