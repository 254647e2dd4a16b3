"""TensorRT and CUDA are played by what is below: it checks what is asked of them, and that copies stay in bounds."""

# ruff: noqa: N802, N815 (the names are CUDA's)

from __future__ import annotations

import ctypes
import enum
import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from whc.errors import ArtifactError, RuntimeUnavailable, UsageError
from whc.records import ModelMetadata
from whc.runtimes import onnxruntime_cpu, tensorrt
from whc.runtimes.tensorrt import Config

Build = Callable[..., Path]


class CudaError(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100


class FakeCuda:
    """`cuda.bindings.runtime`, whose memory is the host's; every copy must stay within what was allocated."""

    cudaError_t = CudaError
    cudaMemcpyKind = enum.Enum("cudaMemcpyKind", ["cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"])

    def __init__(self) -> None:
        self.name, self.major = b"NVIDIA Fake", 9
        self.devices, self.free_bytes = 1, 1 << 20
        self.memory: dict[int, Any] = {}
        self.streams = 0

    def cudaSetDevice(self, number: int) -> tuple[CudaError]:
        return (CudaError.cudaSuccess if number < self.devices else CudaError.cudaErrorNoDevice,)

    def cudaGetDeviceProperties(self, number: int) -> tuple[CudaError, Any]:
        return CudaError.cudaSuccess, SimpleNamespace(name=self.name, major=self.major, minor=0)

    def cudaStreamCreate(self) -> tuple[CudaError, int]:
        self.streams += 1
        return CudaError.cudaSuccess, 77

    def cudaStreamDestroy(self, stream: int) -> tuple[CudaError]:
        self.streams -= 1
        return (CudaError.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[CudaError]:
        assert stream == 77
        return (CudaError.cudaSuccess,)

    def cudaMalloc(self, size: int) -> tuple[CudaError, int | None]:
        if size > self.free_bytes:
            return CudaError.cudaErrorMemoryAllocation, None
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return CudaError.cudaSuccess, ctypes.addressof(buffer)

    def cudaFree(self, address: int) -> tuple[CudaError]:
        del self.memory[address]
        return (CudaError.cudaSuccess,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: Any, stream: int) -> tuple[CudaError]:
        device = to if kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice else source
        assert size <= len(self.memory[device])
        assert stream == 77
        ctypes.memmove(to, source, size)
        return (CudaError.cudaSuccess,)


class FakeTensorRT:
    """`tensorrt`: an engine is the model's own bytes, which ONNX Runtime runs."""

    __version__ = "11.4.0.106"
    Logger = type("Logger", (), {"INTERNAL_ERROR": 0, "__init__": lambda self, severity: None})
    BuilderFlag = enum.Enum("BuilderFlag", ["TF32"])
    NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})

    def __init__(self) -> None:
        self.builds: list[tuple[tuple[int, ...], ...]] = []  # the profile of each
        self.parses = self.fits = True
        self.Builder = lambda logger: FakeBuilder(self)
        self.OnnxParser = lambda network, logger: FakeParser(self, network)
        self.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=self.deserialize)

    def deserialize(self, plan: bytes) -> Any:
        version, _, model = plan.partition(b"|")
        if version != self.__version__.encode():
            return None
        return SimpleNamespace(create_execution_context=lambda: FakeContext(model, self.builds[-1]))


class FakeParser:
    def __init__(self, trt: FakeTensorRT, network: Any) -> None:
        self.trt, self.network = trt, network

    def parse(self, model: bytes) -> bool:
        onnx.checker.check_model(onnx.load_from_string(model))
        self.network.model = model
        return self.trt.parses

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: "no importer for Juggle\nmore of it")


class FakeBuilder:
    def __init__(self, trt: FakeTensorRT) -> None:
        self.trt = trt
        self.profiles: list[Any] = []

    def create_network(self, flags: int) -> Any:
        assert flags == 2, "strongly typed"
        return SimpleNamespace()

    def create_builder_config(self) -> Any:
        return SimpleNamespace(add_optimization_profile=self.profiles.append, clear_flag=lambda flag: None)

    def create_optimization_profile(self) -> Any:
        profile = SimpleNamespace(shapes=())

        def set_shape(name: str, *shapes: tuple[int, ...]) -> None:
            assert name == "images"
            profile.shapes = shapes

        profile.set_shape = set_shape
        return profile

    def build_serialized_network(self, network: Any, settings: Any) -> bytes | None:
        (profile,) = self.profiles
        self.trt.builds.append(profile.shapes)
        return self.trt.__version__.encode() + b"|" + network.model if self.trt.fits else None


class FakeContext:
    def __init__(self, model: bytes, profile: tuple[tuple[int, ...], ...]) -> None:
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.least, _, self.most = profile
        self.addresses: dict[str, int] = {}
        self.shape = self.least

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        fits = len(shape) == len(self.least)
        fits = fits and all(a <= b <= c for a, b, c in zip(self.least, shape, self.most, strict=True))
        self.shape = shape if fits else self.shape
        return fits

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        (output,) = self.session.get_outputs()
        assert name == output.name
        return (self.shape[0], *output.shape[1:])

    def get_max_output_size(self, name: str) -> int:
        return 4 * self.most[0] * int(np.prod(self.get_tensor_shape(name)[1:]))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        (given,), (output,) = self.session.get_inputs(), self.session.get_outputs()
        count = int(np.prod(self.shape))
        images = np.frombuffer((ctypes.c_float * count).from_address(self.addresses[given.name]), np.float32)
        (result,) = self.session.run([output.name], {given.name: images.reshape(self.shape)})
        ctypes.memmove(self.addresses[output.name], np.ascontiguousarray(result).ctypes.data, result.nbytes)
        return True


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    fake = FakeCuda()
    package = SimpleNamespace(__path__=[], runtime=fake)
    for name, module in {"cuda": package, "cuda.bindings": package, "cuda.bindings.runtime": fake}.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield fake
    gc.collect()
    assert (fake.memory, fake.streams) == ({}, 0), "all that was taken of the GPU is given back"


@pytest.fixture
def trt(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeTensorRT:
    fake = FakeTensorRT()
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake


def engines(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "whc" / "tensorrt").iterdir())


def test_gives_what_onnxruntime_gives(exported: Path, trt: FakeTensorRT) -> None:
    theirs = onnxruntime_cpu.load(exported, onnxruntime_cpu.Config())
    images = np.random.default_rng(0).random((9, *theirs.input_shape[1:]), np.float32)
    expected = theirs.run(images)
    full, half = (tensorrt.load(exported, Config(fp16=fp16, max_batch=4)) for fp16 in (False, True))
    assert (full.input_shape, full.metadata()) == (theirs.input_shape, theirs.metadata())
    for batch in (1, 4, 9):
        np.testing.assert_allclose(full.run(images[:batch]), expected[:batch], atol=1e-5)
    difference = np.abs(half.run(images) - expected).max()
    assert 0 < difference < 5e-3, "half precision"


def test_built_once_for_a_batch_of_one_to_the_most(build: Build, trt: FakeTensorRT, tmp_path: Path) -> None:
    path = build()
    for _ in range(3):
        session = tensorrt.load(path, Config(max_batch=5))
        assert session.run(np.full((1, 3, 4, 6), 0.5, np.float32)).tolist() == [0.5]
    assert trt.builds == [((1, 3, 4, 6), (1, 3, 4, 6), (5, 3, 4, 6))]
    (engine,) = engines(tmp_path)
    assert engine.suffix == ".engine"


@pytest.mark.parametrize(
    "change",
    [
        lambda cuda, trt, build: setattr(cuda, "name", b"NVIDIA Other"),
        lambda cuda, trt, build: setattr(cuda, "major", 8),
        lambda cuda, trt, build: setattr(trt, "__version__", "12.0"),
        lambda cuda, trt, build: build(operator="ReduceMax"),
        lambda cuda, trt, build: Config(fp16=False),
        lambda cuda, trt, build: Config(max_batch=3),
    ],
)
def test_another_engine_for_whatever_it_depends_on(
    build: Build, cuda: FakeCuda, trt: FakeTensorRT, tmp_path: Path, change: Callable[..., Any]
) -> None:
    path = build()
    tensorrt.load(path, Config())
    changed = change(cuda, trt, build)
    config = changed if isinstance(changed, Config) else Config()
    for _ in range(2):
        tensorrt.load(path, config)
    assert len(trt.builds) == len(engines(tmp_path)) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[:-1],
        lambda content: content[:60] + b"x" + content[61:],
        lambda content: content + b"x",
    ],
)
def test_a_damaged_engine_is_built_again(
    build: Build, trt: FakeTensorRT, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = build()
    tensorrt.load(path, Config())
    (engine,) = engines(tmp_path)
    whole = engine.read_bytes()
    engine.write_bytes(damage(whole))
    tensorrt.load(path, Config())
    assert (len(trt.builds), engine.read_bytes(), engines(tmp_path)) == (2, whole, [engine])
    tensorrt.load(path, Config())
    assert len(trt.builds) == 2


def test_an_engine_that_tensorrt_refuses_is_built_again(build: Build, trt: FakeTensorRT, tmp_path: Path) -> None:
    path = build()
    tensorrt.load(path, Config())
    (engine,) = engines(tmp_path)
    whole = engine.read_bytes()
    tensorrt._write_to_cache(engine, b"of another world")
    tensorrt.load(path, Config())
    assert (len(trt.builds), engine.read_bytes()) == (2, whole)


def test_the_cache_may_be_elsewhere(build: Build, trt: FakeTensorRT, tmp_path: Path) -> None:
    tensorrt.load(build(), Config(cache=tmp_path / "mine"))
    assert [engine.suffix for engine in (tmp_path / "mine").iterdir()] == [".engine"]
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written(build: Build, trt: FakeTensorRT) -> None:
    path = build()
    message = (
        r"^runtime tensorrt: cache must be a folder that can be written \(Not a directory\), got .*; set its parameter"
    )
    with pytest.raises(UsageError, match=message):
        tensorrt.load(path, Config(cache=path / "cache"))


def test_fixed_sizes_stay_fixed(build: Build, trt: FakeTensorRT, metadata: ModelMetadata) -> None:
    properties = metadata.model_copy(update={"frames": 5}).to_properties()
    session = tensorrt.load(build(("batch", "frames", 4, 6), properties), Config(max_batch=2))
    assert trt.builds == [((1, 5, 4, 6), (1, 5, 4, 6), (2, 5, 4, 6))]
    rule = r"m\.onnx: input must be \(1, 5, 4, 6\), but for the batch, got \(1, 8, 4, 6\); choose another runtime"
    with pytest.raises(ArtifactError, match=rule):
        session.run(np.zeros((1, 8, 4, 6), np.float32))
    one = tensorrt.load(build((1, 3, 4, 6)), Config())
    assert trt.builds[1:] == [((1, 3, 4, 6),) * 3]
    assert one.run(np.ones((3, 3, 4, 6), np.float32)).tolist() == [1, 1, 1]


def test_what_tensorrt_cannot_build(build: Build, trt: FakeTensorRT) -> None:
    path = build()
    trt.fits = False
    with pytest.raises(ArtifactError, match=r"that TensorRT can run, got: no engine; export it again$"):
        tensorrt.load(path, Config())
    trt.parses = False
    with pytest.raises(ArtifactError, match=r"that TensorRT can run, got: no importer for Juggle; export it again$"):
        tensorrt.load(path, Config())


def test_no_such_gpu(build: Build, trt: FakeTensorRT) -> None:
    message = r"^runtime tensorrt: GPU 3: cudaSetDevice must succeed, got 'cudaErrorNoDevice'; check the driver"
    with pytest.raises(RuntimeUnavailable, match=message):
        tensorrt.load(build(), Config(device_id=3))


def test_a_gpu_without_memory(build: Build, cuda: FakeCuda, trt: FakeTensorRT) -> None:
    cuda.free_bytes = 100
    with pytest.raises(RuntimeUnavailable, match=r"cudaMalloc must succeed, got 'cudaErrorMemoryAllocation'; .*memory"):
        tensorrt.load(build(), Config())


def test_cuda_bindings_belong_to_the_extra(build: Build, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeUnavailable, match=r"install whc\[tensorrt\]$"):
        tensorrt.load(build(), Config())


def test_the_configuration_is_written_and_read() -> None:
    config = Config(cache=Path("engines"), fp16=False)
    assert Config.model_validate(config.model_dump(mode="json")) == config
    for wrong in ({"device_id": -1}, {"max_batch": 0}):
        with pytest.raises(ValueError, match="greater than or equal to"):
            Config.model_validate(wrong)


@pytest.mark.gpu
def test_on_a_gpu(exported: Path, tmp_path: Path) -> None:
    theirs = onnxruntime_cpu.load(exported, onnxruntime_cpu.Config())
    images = np.random.default_rng(0).random((9, *theirs.input_shape[1:]), np.float32)
    for fp16, tolerance in ((False, 1e-4), (True, 5e-3)):
        for _ in range(2):  # built, and then from the cache
            try:
                session = tensorrt.load(exported, Config(fp16=fp16, max_batch=4, cache=tmp_path))
            except RuntimeUnavailable as error:
                pytest.skip(str(error))
            np.testing.assert_allclose(session.run(images), theirs.run(images), atol=tolerance)
