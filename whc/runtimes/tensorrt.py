"""TensorRT on an NVIDIA GPU.

The ONNX file stays the source of truth: an engine is built from it on the first use, and kept in a cache for this kind
of GPU and this version of TensorRT.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc import __version__
from whc.config import fingerprint
from whc.errors import ArtifactError, UsageError, problem
from whc.paths import user_cache
from whc.plugins import PluginConfig
from whc.records import replacing
from whc.runtimes import library
from whc.runtimes.cuda import Gpu
from whc.runtimes.model_file import FileSession, ModelFile, unusable_file
from whc.runtimes.onnx_file import read

RUNTIME_NAME = "tensorrt"
SUFFIX = ".onnx"
ON_GPU = True
_DIGEST_BYTES = hashlib.sha256().digest_size


class Config(PluginConfig):
    """How the engine is built.

    `device_id` is the GPU, as CUDA counts them; `fp16` computes in half precision (probabilities move by about 1e-3);
    `max_batch` is the most that one pass takes, larger batches take several; `cache` is the folder of the engines, by
    default `whc/tensorrt` in the user's cache.
    """

    device_id: int = Field(0, ge=0, le=255)
    fp16: bool = True
    max_batch: int = Field(64, ge=1, le=4096)
    cache: Path | None = None


class _TensorRTSession(FileSession):
    LIBRARY_NAME: ClassVar[str] = "TensorRT"
    LIBRARY_ERRORS: ClassVar[tuple[type[Exception], ...]] = ()  # it reports failures by its results

    def __init__(self, file: ModelFile, engine: Any, gpu: Gpu, largest_batch: int) -> None:
        super().__init__(file, largest_batch)
        self._gpu = gpu
        self._context = engine.create_execution_context()
        shape = (largest_batch, *file.input_shape[1:])
        self._context.set_input_shape(file.input, shape)
        self._images = gpu.allocate(math.prod(shape) * np.float32().nbytes)
        self._probabilities = gpu.allocate(self._context.get_max_output_size(file.output))
        self._context.set_tensor_address(file.input, self._images)
        self._context.set_tensor_address(file.output, self._probabilities)

    def forward(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        context, images = self._context, np.ascontiguousarray(images)
        if not context.set_input_shape(self.file.input, images.shape):
            rule = f"input must be {self.input_shape}, but for the batch"
            raise ArtifactError(problem(str(self.path), rule, images.shape, "choose another runtime for it"))
        self._gpu.send(images, self._images)
        if not context.execute_async_v3(self._gpu.stream):
            raise unusable_file(self.path, "TensorRT", "no result")
        probabilities = np.empty(tuple(context.get_tensor_shape(self.file.output)), np.float32)
        self._gpu.fetch(self._probabilities, probabilities)
        return probabilities


def load(path: Path, config: Config) -> _TensorRTSession:
    """Load an ONNX file as an engine: from the cache, or built now (seconds to minutes).

    Raises:
        RuntimeUnavailable: TensorRT or CUDA's Python bindings are not installed, or there is no such GPU.
        ArtifactError: the file is missing, is not ONNX, TensorRT cannot build it, or it has several inputs.
        UsageError: the cache cannot be written.
    """
    trt = library(RUNTIME_NAME, "tensorrt")
    gpu = Gpu(RUNTIME_NAME, config.device_id)
    file, model = read(path)
    largest_batch = file.batch or config.max_batch
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)  # errors are raised, and so reported once
    runtime = trt.Runtime(logger)
    engine_path = _engine_path(trt, gpu, path, config)
    engine = runtime.deserialize_cuda_engine(cached) if (cached := _cached_plan(engine_path)) else None
    if engine is None:
        plan = _build(trt, logger, file, _half_precision(model) if config.fp16 else model, largest_batch)
        _write_to_cache(engine_path, plan)
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise unusable_file(path, "TensorRT", "an engine that does not load")
    return _TensorRTSession(file, engine, gpu, largest_batch)


def _build(trt: Any, logger: Any, file: ModelFile, model: Any, largest_batch: int) -> bytes:
    """The engine of a model, for batches from 1 (or its fixed size) to `largest_batch`, tuned for the smallest."""
    builder = trt.Builder(logger)
    # Strongly typed: precisions are those of the model. TensorRT 11 removed the flag for fp16.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise unusable_file(file.path, "TensorRT", parser.get_error(0).desc().splitlines()[0])
    settings = builder.create_builder_config()
    settings.clear_flag(trt.BuilderFlag.TF32)  # it rounds fp32 to ten bits
    profile = builder.create_optimization_profile()
    smallest = file.input_shape
    profile.set_shape(file.input, smallest, smallest, (largest_batch, *smallest[1:]))
    settings.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, settings)
    if plan is None:
        raise unusable_file(file.path, "TensorRT", "no engine")
    return bytes(plan)


def _half_precision(model: Any) -> Any:
    """A model that computes in half precision; its input and output stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    converted = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
    converted.topological_sort()  # the casts were put at the end
    return converted.model


def _engine_path(trt: Any, gpu: Gpu, path: Path, config: Config) -> Path:
    """Path of the engine in the cache: its name changes with everything that an engine depends on."""
    key = {
        "onnx": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tensorrt": trt.__version__,
        "whc": __version__,
        "gpu": gpu.name,
        "fp16": config.fp16,
        "max_batch": config.max_batch,
    }
    return (config.cache or user_cache() / "tensorrt") / f"{fingerprint(key)}.engine"


def _cached_plan(engine_path: Path) -> bytes:
    """The engine in the cache; empty where there is none, or it is damaged."""
    content = engine_path.read_bytes() if engine_path.is_file() else b""
    digest, plan = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return plan if digest == hashlib.sha256(plan).digest() else b""


def _write_to_cache(engine_path: Path, plan: bytes) -> None:
    """Write an engine to the cache after its digest: TensorRT may crash when it loads a damaged engine."""
    try:
        with replacing(engine_path) as temporary:
            temporary.write_bytes(hashlib.sha256(plan).digest() + plan)
    except OSError as error:
        rule = f"cache must be a folder that can be written ({error.strerror})"
        where = f"runtime {RUNTIME_NAME}"
        raise UsageError(problem(where, rule, str(engine_path.parent), "set its parameter `cache`")) from error
