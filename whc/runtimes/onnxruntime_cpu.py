"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from pydantic import Field

from whc.errors import ArtifactError, problem
from whc.plugins import PluginConfig
from whc.records import ModelMetadata

PROVIDER = "CPUExecutionProvider"
_CANNOT_LOAD = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class Config(PluginConfig):
    """`threads`: threads of one forward pass."""

    threads: int = Field(1, ge=1)


class _Session:
    def __init__(self, path: Path, session: ort.InferenceSession) -> None:
        self.path = path
        self._session = session
        self._input = session.get_inputs()[0]
        self._output = session.get_outputs()[0].name

    @property
    def input_shape(self) -> tuple[int, ...]:
        batch, *rest = self._input.shape
        if not all(isinstance(size, int) for size in rest):
            raise ArtifactError(
                problem(
                    str(self.path), "only the batch size may be dynamic", self._input.shape, "export with fixed sizes"
                )
            )
        return (batch if isinstance(batch, int) else 1, *rest)

    def metadata(self) -> ModelMetadata:
        properties = self._session.get_modelmeta().custom_metadata_map
        return ModelMetadata.from_properties(properties, str(self.path))

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run([self._output], {self._input.name: images})[0], np.float32)


def load(path: Path, config: Config) -> _Session:
    """Load an ONNX file.

    Raises:
        ArtifactError: the file is missing, is not ONNX, cannot run here, or has several inputs.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: must be an ONNX file, got nothing there; check the path")
    options = ort.SessionOptions()
    options.intra_op_num_threads = config.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and told once
    try:
        session = ort.InferenceSession(str(path), options, providers=[PROVIDER])
    except _CANNOT_LOAD as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(
            f"{path}: must be an ONNX file that ONNX Runtime can run, got: {reason}; export it again"
        ) from error
    if session.get_providers() != [PROVIDER]:
        raise ArtifactError(
            problem(str(path), f"must run on {PROVIDER}", session.get_providers(), "reinstall onnxruntime")
        )
    inputs = [(item.name, item.type) for item in session.get_inputs()]
    if [kind for _, kind in inputs] != ["tensor(float)"]:
        raise ArtifactError(problem(str(path), "must have one float32 input", inputs, "export the network alone"))
    return _Session(path, session)
