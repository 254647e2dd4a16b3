"""What the runtimes based on ONNX Runtime share."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from whc.errors import RuntimeUnavailable, problem
from whc.runtimes.onnx_file import UNUSABLE_ERRORS, OnnxFile, OnnxSession, check_inputs, check_present, unusable_file

LIBRARY_NAME = "ONNX Runtime"
LIBRARY_ERRORS = (
    RuntimeError,  # its Python bindings raise some of these
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class OrtSession(OnnxSession):
    """A file in ONNX Runtime."""

    LIBRARY_NAME: ClassVar[str] = LIBRARY_NAME
    LIBRARY_ERRORS: ClassVar[tuple[type[Exception], ...]] = LIBRARY_ERRORS

    def __init__(self, file: OnnxFile, session: ort.InferenceSession) -> None:
        super().__init__(file, largest_batch=1 if file.batch == 1 else None)
        self.session = session

    def forward(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """One pass."""
        return np.asarray(self.session.run([self.file.output], {self.file.input: images})[0], np.float32)

    def all_outputs(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Every output of the file for one batch, in its order, for files of somebody else.

        Raises:
            ArtifactError: the pass fails.
        """
        try:
            found = self.session.run(None, {self.file.input: images})
        except UNUSABLE_ERRORS + LIBRARY_ERRORS as error:
            raise unusable_file(self.path, LIBRARY_NAME, error) from error
        return [np.asarray(output, np.float32) for output in found]


def load(path: Path, runtime: str, provider: str, options: dict[str, str], threads: int) -> OrtSession:
    """Load an ONNX file.

    Args:
        path: the file.
        runtime: name of the runtime plug-in.
        provider: ONNX Runtime's name of the device that must run the file.
        options: the provider's own options.
        threads: threads of one forward pass, for what runs on the CPU.

    Raises:
        ArtifactError: the file is missing, is not ONNX, cannot run here, or has several inputs.
        RuntimeUnavailable: another provider would run it.
    """
    check_present(path)
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # errors are raised, and so reported once
    try:
        # Without `enable_fallback`, a provider that fails is an error rather than a line on stdout and the CPU.
        session = ort.InferenceSession(str(path), settings, providers=[(provider, options)], enable_fallback=0)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        types = [(item.name, item.type) for item in inputs]
        properties = dict(session.get_modelmeta().custom_metadata_map)
    except UNUSABLE_ERRORS + LIBRARY_ERRORS as error:
        raise unusable_file(path, LIBRARY_NAME, error) from error
    providers = session.get_providers()
    if providers[0] != provider:
        advice = "check the device's driver and libraries"
        raise RuntimeUnavailable(problem(f"runtime {runtime}", f"must run on {provider}", providers, advice))
    check_inputs(path, types, "tensor(float)")
    return OrtSession(OnnxFile(path, inputs[0].name, tuple(inputs[0].shape), outputs[0].name, properties), session)
