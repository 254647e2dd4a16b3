"""Fixtures that several packages' tests share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Before PyTorch loads: tiny networks gain nothing from threads, and spinning threads of several processes lose minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from whc.data.dataset import Corpus
from whc.data.preprocess import INTERPOLATION, RESIZE_MODE
from whc.data.row_labels import RowLabels
from whc.records import Latency, ModelMetadata, StudyRecord, TrialRecord

if TYPE_CHECKING:
    from torch import nn

# How long an example takes says how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

SPACE = """
name: chain
recipe: {recipe}
trials: 3
limits: {{latency_ms: 5}}
space:
  model:
    backbone: [baseline, inverted_se]
    sequence: {{frame_stack: {{frames: [4, 6]}}}}
    color: [rgb, luma]
    width: [4, 8]
    depth: 2
    image_size: [16, 24]
    dropout: 0
  training:
    epochs: {epochs}
    batch_size: 32
    lr: {{float: [5e-3, 2e-2], log: true}}
    resampling: [none, balanced]
"""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("WHC_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder} (or WHC_SHARED)")
    return folder


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server's bucket, as a storage URI; processes started meanwhile may use it too."""
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "whc")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "whc")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = ":".join(map(str, server.get_host_and_port()))
        urllib.request.urlopen(urllib.request.Request(f"http://{endpoint}/bucket", method="PUT")).close()
        yield f"s3://bucket/studies?scheme=http&endpoint_override={endpoint}&region=us-east-1"
    finally:
        server.stop()


class TimerProcess:
    """`whc bench --serve` in a process of its own, on a port of 127.0.0.1; port 0 is a free one."""

    TOKEN = "0123456789abcdef-of-these-tests"

    def __init__(self, runtime: str, port: int) -> None:
        command = [sys.executable, "-c", "from whc.cli import main; main()", "bench", "--serve"]
        command += ["--runtime", runtime, "--port", str(port), "--wait", "20"]
        env = os.environ | {"WHC_TIMER_TOKEN": self.TOKEN}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout
        self.line = self.process.stdout.readline()
        self.address = self.line.split()[2].removeprefix("http://").rstrip(":")
        self.port = int(self.address.rpartition(":")[2])

    def end(self, number: int = signal.SIGKILL) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        assert self.process.stdout
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def start_timer() -> Iterator[Callable[..., TimerProcess]]:
    """Starts timers, `start_timer(runtime, port)`, and ends what is left of them."""
    started: list[TimerProcess] = []

    def start(runtime: str = "openvino", port: int = 0) -> TimerProcess:
        pytest.importorskip(runtime.partition("_")[0])
        started.append(TimerProcess(runtime, port))
        return started[-1]

    yield start
    for timer in started:
        if timer.process.returncode is None:
            timer.end()


@pytest.fixture
def make_matroska(tmp_path: Path) -> Callable[..., Path]:
    """Writes RGB pictures with their seconds as a Matroska file of JPEG frames: any times, unlike OpenCV's writer."""

    def element(code: str, *content: bytes | int | str) -> bytes:
        parts = [c if isinstance(c, bytes) else c.encode() if isinstance(c, str) else c.to_bytes(4) for c in content]
        payload = b"".join(parts)
        return bytes.fromhex(code) + (1 << 56 | len(payload)).to_bytes(8) + payload

    def make(pictures: list[np.ndarray], seconds: list[float], name: str = "clip.mkv") -> Path:
        import cv2  # not before whc, which sets a limit that OpenCV reads when it is loaded

        height, width = pictures[0].shape[:2]
        size = element("E0", element("B0", width), element("BA", height))
        track = element("AE", element("D7", 1), element("73C5", 1), element("83", 1), element("86", "V_MJPEG"), size)
        clusters = []
        for picture, second in zip(pictures, seconds, strict=True):
            jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
            block = element("A3", b"\x81\x00\x00\x80", jpeg)
            clusters.append(element("1F43B675", element("E7", round(second * 1000)), block))
        head = element("1A45DFA3", element("4282", "matroska"), element("4287", 4), element("4285", 2))
        path = tmp_path / name
        info = element("1549A966", element("2AD7B1", 1_000_000))
        path.write_bytes(head + element("18538067", info, element("1654AE6B", track), *clusters))
        return path

    return make


@pytest.fixture
def bright_corpus() -> Corpus:
    """96 pictures of 16x16 in clips of four; positives are bright, negatives dark: learnt in an epoch or two."""
    rng = np.random.default_rng(0)
    class_ids = np.tile(np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int64), 12)
    level = np.where(class_ids == 1, 180, 60)[:, None, None, None]
    images = np.clip(level + rng.normal(0, 20, (96, 16, 16, 3)), 0, 255).astype(np.uint8)
    clips = np.arange(96) // 4
    return Corpus(
        images={(16, 16): images},
        labelled=RowLabels(class_ids, ("dark", "bright"), class_ids, ("dark", "bright")),
        needs_every_stratum=True,
        splits=np.select([clips < 12, clips < 18], [0, 1], 2).astype(np.int64),
        clips=clips.astype(np.int64),
        groups=clips.astype(np.int64),
        timestamps=np.tile(np.arange(4), 24).astype(np.int64),
        row_numbers=np.arange(96),
        frame_rate=10.0,
        fingerprint="bright",
    )


@pytest.fixture(scope="session")
def write_space() -> Callable[..., None]:
    """Writes a space of quick trials and its recipe into a folder: `write_space(folder, epochs=6)`."""

    def write(folder: Path, epochs: int) -> None:
        recipe = "prefix: chain\nmin_gain: 0\nmin_over_floor: 0\ntiming: {min_rounds: 10, max_rounds: 30}\n"
        (folder / "recipe.yaml").write_text(recipe)
        (folder / "space.yaml").write_text(SPACE.format(recipe=folder / "recipe.yaml", epochs=epochs))

    return write


@pytest.fixture(scope="session")
def make_metadata() -> Callable[..., ModelMetadata]:
    """Says what a still model of two labels is; keywords change it."""

    def make(**changes: Any) -> ModelMetadata:
        answer = {"task": "classification", "labels": ["still", "waving"], "task_config": {"threshold": 0.5}}
        windows = {"layout": "still", "frames": 1, "frame_rate": None}
        pictures = {"height": 8, "width": 8, "resize": RESIZE_MODE, "interpolation": INTERPOLATION}
        origin = {"data_fingerprint": "f00d", "code_version": "test"}
        fields: dict[str, Any] = {**answer, **windows, **pictures, **origin}
        return ModelMetadata(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def make_study() -> Callable[..., StudyRecord]:
    """Describes a search without limits; keywords change it."""

    def make(**changes: Any) -> StudyRecord:
        fields: dict[str, Any] = {
            "study": "hands",
            "space_name": "hands",
            "space": {},
            "data": "dataset.parquet",
            "data_fingerprint": "f00d",
            "recipe": "tiny",
            "trials": 4,
            "workers": 1,
            "runtime": "onnxruntime_cpu",
            "limits": {},
            "seed": 0,
            "reference_ms": 0.1,
            "floor": 0.5,
            "host": "here",
            "code_version": "1",
        }
        return StudyRecord(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def make_latency() -> Callable[..., Latency]:
    """Gives a latency of so many milliseconds, where the reference network takes 0.1; keywords change it."""

    def make(ms: float = 0.5, **changes: Any) -> Latency:
        times = {"ms": ms, "low_ms": 0.9 * ms, "high_ms": 1.1 * ms, "p90_ms": ms, "p99_ms": ms, "ratio": ms / 0.1}
        fields: dict[str, Any] = {**times, "runtime": "onnxruntime_cpu", "threads": 1, "host": "here"}
        return Latency(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def make_trial() -> Callable[..., TrialRecord]:
    """Gives what a trial of the default configuration left, without a score; keywords change it."""
    from whc.trials.config import TrialConfig

    config = TrialConfig()

    def make(**changes: Any) -> TrialRecord:
        trial = {"trial_id": "00000", "study": "hands", "config": config.resolved(), "config_hash": config.hash}
        origin = {"seed": 0, "data_fingerprint": "f00d", "code_version": "1"}
        fields: dict[str, Any] = {**trial, "state": "finished", **origin}
        return TrialRecord(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def season() -> Callable[[nn.Module, tuple[int, ...]], nn.Module]:
    """Makes a network look trained: call with it and its input's shape without the batch.

    No parameter is left at its first value, BatchNorm has gathered statistics, outputs are spread.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    def train(network: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = None  # plain averages: the first values leave no trace
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
            network.train()
            for _ in range(5):
                # Noise of different brightness, so that outputs differ from picture to picture.
                network(torch.rand(16, *input_shape) * torch.rand(16, *(1 for _ in input_shape)))
        return network.eval()

    return train


@pytest.fixture(scope="session")
def write_litert() -> Callable[..., Path]:
    """Writes a .tflite file that gives the mean of each RGB picture: `write_litert(path, properties, (6, 4))`.

    With `is_int8` its input and output are integers: of 1/255 each, from -128.
    """
    schema: Any = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs the extra litert")
    flatbuffers: Any = pytest.importorskip("flatbuffers")

    def buffer(content: bytes) -> Any:
        made = schema.BufferT()
        made.data = np.frombuffer(content, np.uint8) if content else None
        return made

    def tensor(name: str, shape: tuple[int, ...], kind: int, content: int, is_scaled: bool) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), kind, content
        if is_scaled:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [1 / 255], [-128]
        return made

    def write(
        path: Path, properties: dict[str, str] | bytes, size: tuple[int, int], is_int8: bool = False, inputs: int = 1
    ) -> Path:
        model, graph, mean, code = (
            schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
        )  # fmt: skip
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MEAN
        code.version = 2
        kind = schema.TensorType.INT8 if is_int8 else schema.TensorType.FLOAT32
        graph.tensors = [
            tensor("images", (1, *size, 3), kind, 0, is_int8),
            tensor("axes", (3,), schema.TensorType.INT32, 1, False),
            tensor("prob_waving", (1,), kind, 0, is_int8),
            tensor("more", (1,), kind, 0, is_int8),
        ]
        graph.inputs, graph.outputs = [0, 3][:inputs], [2]
        mean.inputs, mean.outputs, mean.opcodeIndex = [0, 1], [2], 0
        mean.builtinOptionsType, mean.builtinOptions = schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT()
        graph.operators = [mean]
        text = properties if isinstance(properties, bytes) else json.dumps(properties).encode()
        model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
        model.buffers = [buffer(b""), buffer(np.array([1, 2, 3], np.int32).tobytes()), buffer(text)]
        entry = schema.MetadataT()
        entry.name, entry.buffer = "whc", 2
        model.metadata = [entry] if properties else []
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    return write
