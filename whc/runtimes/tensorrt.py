"""TensorRT on an NVIDIA GPU.

The ONNX file stays the source of truth: an engine is built from it on the first use, and kept in a cache for this kind
of GPU and this version of TensorRT.
"""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc import __version__
from whc.config import fingerprint
from whc.errors import ArtifactError, UsageError, problem
from whc.plugins import PluginConfig
from whc.records import replacing
from whc.runtimes import library
from whc.runtimes.cuda import Gpu
from whc.runtimes.onnx_file import OnnxFile, OnnxSession, read, refused

NAME = "tensorrt"
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


class _Session(OnnxSession):
    LIBRARY: ClassVar[str] = "TensorRT"
    ERRORS: ClassVar[tuple[type[Exception], ...]] = ()  # it says by its results that it failed

    def __init__(self, file: OnnxFile, engine: Any, gpu: Gpu, largest_batch: int) -> None:
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
            raise refused(self.path, "TensorRT", "no result")
        probabilities = np.empty(tuple(context.get_tensor_shape(self.file.output)), np.float32)
        self._gpu.fetch(self._probabilities, probabilities)
        return probabilities


def load(path: Path, config: Config) -> _Session:
    """Load an ONNX file, by its engine in the cache or a new one (seconds to minutes).

    Raises:
        RuntimeUnavailable: TensorRT or CUDA's Python bindings are not installed, or there is no such GPU.
        ArtifactError: the file is missing, is not ONNX, TensorRT cannot build it, or it has several inputs.
        UsageError: the cache cannot be written.
    """
    trt = library(NAME, "tensorrt")
    gpu = Gpu(NAME, config.device_id)
    file, model = read(path)
    largest_batch = file.batch or config.max_batch
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)  # what goes wrong is raised, and told once
    runtime = trt.Runtime(logger)
    place = _place(trt, gpu, path, config)
    engine = runtime.deserialize_cuda_engine(kept) if (kept := _kept(place)) else None
    if engine is None:
        plan = _build(trt, logger, file, _half(model) if config.fp16 else model, largest_batch)
        _keep(place, plan)
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise refused(path, "TensorRT", "an engine that does not load")
    return _Session(file, engine, gpu, largest_batch)


def _build(trt: Any, logger: Any, file: OnnxFile, model: Any, largest_batch: int) -> bytes:
    """The engine of a model, for its batch of 1 (or the one it takes) to `largest_batch`, fastest at the former."""
    builder = trt.Builder(logger)
    # Strongly typed: precisions are those of the model. The flag for fp16 went with TensorRT 11.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise refused(file.path, "TensorRT", parser.get_error(0).desc().splitlines()[0])
    settings = builder.create_builder_config()
    settings.clear_flag(trt.BuilderFlag.TF32)  # it rounds fp32 to ten bits
    profile = builder.create_optimization_profile()
    smallest = file.input_shape
    profile.set_shape(file.input, smallest, smallest, (largest_batch, *smallest[1:]))
    settings.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, settings)
    if plan is None:
        raise refused(file.path, "TensorRT", "no engine")
    return bytes(plan)


def _half(model: Any) -> Any:
    """A model that computes in half precision; its input and output stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    converted = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
    converted.topological_sort()  # the casts were put at the end
    return converted.model


def _place(trt: Any, gpu: Gpu, path: Path, config: Config) -> Path:
    """Where the engine belongs: its name changes with all that an engine depends on."""
    key = {
        "onnx": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tensorrt": trt.__version__,
        "whc": __version__,
        "gpu": gpu.name,
        "fp16": config.fp16,
        "max_batch": config.max_batch,
    }
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (config.cache or user_cache / "whc" / "tensorrt") / f"{fingerprint(key)}.engine"


def _kept(place: Path) -> bytes:
    """An engine in the cache; nothing where there is none, or it is damaged."""
    content = place.read_bytes() if place.is_file() else b""
    digest, plan = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return plan if digest == hashlib.sha256(plan).digest() else b""


def _keep(place: Path, plan: bytes) -> None:
    """Put an engine into the cache, with its digest in front: TensorRT may crash over a damaged one."""
    try:
        with replacing(place) as temporary:
            temporary.write_bytes(hashlib.sha256(plan).digest() + plan)
    except OSError as error:
        rule = f"cache must be a folder that can be written ({error.strerror})"
        raise UsageError(problem(f"runtime {NAME}", rule, str(place.parent), "set its parameter `cache`")) from error
