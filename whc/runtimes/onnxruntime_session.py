"""What the runtimes based on ONNX Runtime share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import ClassVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from whc.errors import RuntimeUnavailable, problem
from whc.runtimes.model_file import (
    UNUSABLE_ERRORS,
    FileSession,
    ModelFile,
    check_inputs,
    check_present,
    unusable_file,
)

LIBRARY_NAME = "ONNX Runtime"
CPU_PROVIDER_NAME = "CPUExecutionProvider"
Shape = tuple[int, ...]
MAX_BOUND_NUMBERS = 2**20  # copying more takes longer than the rest of the call
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


class _BoundBuffers:
    """Buffers that ONNX Runtime reads one input from and writes its output into, without looking them up each time.

    A call of an empty network takes 0.6 of the time that it takes otherwise.
    """

    def __init__(self, session: ort.InferenceSession, file: ModelFile, shapes: tuple[Shape, Shape]) -> None:
        self._session, self._binding, self._in_use = session, session.io_binding(), Lock()
        self._images, self._output = (np.empty(shape, np.float32) for shape in shapes)
        # As addresses: they stay valid as long as this object holds the arrays.
        for bind, name, buffer in (
            (self._binding.bind_input, file.input, self._images),
            (self._binding.bind_output, file.output, self._output),
        ):
            bind(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """One pass; None if the images are of another shape, or while another thread uses the buffers."""
        if images.shape != self._images.shape or not self._in_use.acquire(blocking=False):
            return None
        try:
            np.copyto(self._images, images)
            self._session.run_with_iobinding(self._binding)
            return self._output.copy()
        finally:
            self._in_use.release()


class OrtSession(FileSession):
    """A file in ONNX Runtime; a single input goes through buffers, `bound` to its shape and that of its output."""

    LIBRARY_NAME: ClassVar[str] = LIBRARY_NAME
    LIBRARY_ERRORS: ClassVar[tuple[type[Exception], ...]] = LIBRARY_ERRORS

    def __init__(
        self, file: ModelFile, session: ort.InferenceSession, bound: tuple[Shape, Shape] | None = None
    ) -> None:
        super().__init__(file, largest_batch=1 if file.batch == 1 else None)
        self.session = session
        self._buffers = _BoundBuffers(session, file, bound) if bound else None

    def forward(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """One pass."""
        if self._buffers:
            try:
                output = self._buffers.run(images)
            except LIBRARY_ERRORS:  # its output is of another shape than the file says
                self._buffers = output = None
            if output is not None:
                return output
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


def load_on_cpu(path: Path, threads: int) -> OrtSession:
    """Load an ONNX file on the CPU; raises as `load`."""
    return load(path, "onnxruntime_cpu", CPU_PROVIDER_NAME, {}, threads)


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
    file = ModelFile(path, inputs[0].name, tuple(inputs[0].shape), outputs[0].name, properties)
    is_bound = provider == CPU_PROVIDER_NAME and outputs[0].type == "tensor(float)"
    return OrtSession(file, session, _single(inputs[0].shape, outputs[0].shape) if is_bound else None)


def _single(input_sizes: Sequence[object], output_sizes: Sequence[object]) -> tuple[Shape, Shape] | None:
    """Shapes of a single input and of its output, from a file's; None if more than the batch is open, or too large."""
    shapes = []
    for sizes in (input_sizes, output_sizes):
        fixed = tuple(size for size in sizes[1:] if isinstance(size, int) and size > 0)
        is_single = bool(sizes) and (sizes[0] == 1 or not isinstance(sizes[0], int))
        if not is_single or len(fixed) < len(sizes) - 1 or math.prod(fixed) > MAX_BOUND_NUMBERS:
            return None
        shapes.append((1, *fixed))
    return shapes[0], shapes[1]
