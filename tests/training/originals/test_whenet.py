"""WHENet's own weights give WHENet's own numbers; a file that is not theirs is refused in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.testing import assert_allclose
from torch import Tensor, nn

from whc.cli.export import command as export
from whc.errors import ArtifactError
from whc.export.fold import fold
from whc.models.assemble import ModelConfig, build
from whc.runtimes import onnxruntime_cpu
from whc.tasks.head_pose import bins
from whc.training import checkpoint
from whc.training.originals import whenet

MAX_LOGIT_ERROR, MAX_DEGREES_ERROR = 1e-4, 5e-4


def restored(path: Path) -> nn.Module:
    saved = checkpoint.load(path)
    network = build(ModelConfig.model_validate(saved.config["model"]), bins.LOGIT_COUNT)
    network.load_state_dict(saved.weights)
    return network.eval()


def logits(network: nn.Module, images: np.ndarray) -> Tensor:
    with torch.inference_mode():
        raw: Tensor = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    return raw


@pytest.fixture(scope="module")
def original(shared: Path) -> nn.Module:
    return restored(shared / "peer/whenet/WHENet.h5")


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "peer/whenet/golden.npz"))


def their_logits(golden: dict[str, np.ndarray], prefix: str = "") -> np.ndarray:
    return np.concatenate([golden[f"{prefix}{name}"] for name in ("yaw", "pitch", "roll")], 1)


@pytest.mark.parametrize("prefix", ["", "extra_"])
def test_logits_and_degrees_are_the_original_s(original: nn.Module, golden: dict[str, np.ndarray], prefix: str) -> None:
    raw = logits(original, golden[f"{prefix}images"])
    assert_allclose(raw.numpy(), their_logits(golden, prefix), rtol=0, atol=MAX_LOGIT_ERROR)
    decoded = bins.decode(raw).numpy()
    assert_allclose(decoded[:, :3], golden[f"{prefix}degrees"], rtol=0, atol=MAX_DEGREES_ERROR)
    assert np.isnan(decoded[:, 3]).all()


def test_every_block_gives_what_the_original_s_gives(original: Any, golden: dict[str, np.ndarray]) -> None:
    images = torch.from_numpy(golden["images"]).permute(0, 3, 1, 2).float() / 255
    network, trace = original.backbone, []
    with torch.inference_mode():
        assert_allclose(network.stem[0](images).numpy(), golden["normalised"], atol=1e-6)
        maps = images
        for part in (network.stem, *network.features, network.top):
            maps = part(maps)
            exact = maps.double()
            trace.append((exact.mean().item(), exact.std(correction=0).item(), exact.flatten()[0].item()))
        pooled = maps.mean((2, 3)).numpy()
    assert_allclose(trace, golden["trace"], rtol=0, atol=1e-4)
    assert_allclose(pooled, golden["pooled"], rtol=0, atol=1e-4)


def test_folded_for_export_it_is_the_same(original: nn.Module, golden: dict[str, np.ndarray]) -> None:
    raw = logits(fold(original), golden["images"])
    assert_allclose(raw.numpy(), their_logits(golden), rtol=0, atol=MAX_LOGIT_ERROR)


def test_the_exported_file_gives_their_degrees(shared: Path, golden: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "whenet.onnx"
    told = CliRunner().invoke(export, ["--checkpoint", str(shared / "peer/whenet/WHENet.h5"), "--out", str(path)])
    assert told.exit_code == 0, told.output
    images = golden["images"].transpose(0, 3, 1, 2).astype(np.float32) / 255
    loaded = onnxruntime_cpu.load(path, onnxruntime_cpu.Config())
    angles = np.concatenate([loaded.run(image[None]) for image in images])
    assert_allclose(angles[:, :3], golden["degrees"], rtol=0, atol=MAX_DEGREES_ERROR)
    assert np.isnan(angles[:, 3]).all()


def with_symmetric_padding(network: Any) -> Callable[[np.ndarray], Tensor]:
    model = whenet._MODEL_CONFIG | {"backbone": {"efficientnet": {"normalize": "imagenet"}}}
    twin = build(ModelConfig.model_validate(model), bins.LOGIT_COUNT).eval()
    twin.load_state_dict(dict(zip(twin.state_dict(), network.state_dict().values(), strict=True)))
    return lambda images: logits(twin, images)


def with_the_usual_norm(network: nn.Module) -> Callable[[np.ndarray], Tensor]:
    def run(images: np.ndarray) -> Tensor:
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.eps = 1e-5
        raw = logits(network, images)
        for norm in norms:
            norm.eps = 1e-3
        return raw

    return run


def with_blue_first(network: nn.Module) -> Callable[[np.ndarray], Tensor]:
    return lambda images: logits(network, images[..., ::-1].copy())


@pytest.mark.parametrize("changed", [with_symmetric_padding, with_the_usual_norm, with_blue_first])
def test_a_network_that_differs_in_one_habit_is_told(
    original: nn.Module, golden: dict[str, np.ndarray], changed: Callable[..., Callable[[np.ndarray], Tensor]]
) -> None:
    raw = changed(original)(golden["images"])
    assert np.abs(raw.numpy() - their_logits(golden)).max() > 1


def arrays() -> dict[str, np.ndarray]:
    """Random weights by Keras's names, as WHENet's file holds them."""
    rng, contents = np.random.default_rng(0), {}

    def read(layer: str, name: str, shape: tuple[int, ...]) -> Tensor:
        contents[f"{layer}/{layer}/{name}:0"] = rng.random(shape, np.float32)
        return torch.zeros(shape)

    whenet._weights(read)
    return contents


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes an HDF5 file of such arrays."""

    def write_file(content: dict[str, Any]) -> Path:
        path = tmp_path / "weights.h5"
        with h5py.File(path, "w") as file:
            for name, array in content.items():
                file[name] = array
        return path

    return write_file


def test_every_array_has_its_place(write: Callable[[dict[str, Any]], Path]) -> None:
    theirs = arrays()
    assert len(theirs) == 315
    assert sum(array.size for array in theirs.values()) == 4_372_376
    network: Any = restored(write(theirs))
    stem, first, heads = network.backbone.stem, network.backbone.features[0].block, network.head.layers
    kernel = theirs["conv2d_1/conv2d_1/kernel:0"]
    assert np.array_equal(stem[2].weight.detach(), kernel.transpose(3, 2, 0, 1))
    kernel = theirs["depthwise_conv2d_1/depthwise_conv2d_1/depthwise_kernel:0"]
    assert np.array_equal(first[0].weight.detach(), kernel.transpose(2, 3, 0, 1))
    assert np.array_equal(first[3].fc[2].bias.detach(), theirs["conv2d_3/conv2d_3/bias:0"])
    last = "batch_normalization_49/batch_normalization_49/moving_variance:0"
    assert np.array_equal(network.backbone.top[1].running_var, theirs[last])
    assert np.array_equal(heads[1].weight[120:186].detach(), theirs["pitch_new/pitch_new/kernel:0"].T)
    assert np.array_equal(heads[1].bias[186:].detach(), theirs["roll_new/roll_new/bias:0"])


KERNEL = "yaw_new/yaw_new/kernel:0"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "yaw_new/kernel: must be there, got 'nothing'"),
        ({"yaw_new/yaw_new": np.zeros(3)}, "yaw_new/kernel: must be there"),
        ({f"{KERNEL}/more": np.zeros(3)}, "yaw_new/kernel: must be there"),
        ({KERNEL: h5py.ExternalLink("other.h5", "/data")}, "yaw_new/kernel: must be there"),
        ({KERNEL: h5py.SoftLink("/elsewhere")}, "yaw_new/kernel: must be there"),
        (
            {KERNEL: np.zeros((1280, 66), np.float32)},
            r"must be float32 of shape (1280, 120), got 'float32 of (1280, 66)'",
        ),
        ({KERNEL: np.zeros((1280, 120))}, r"must be float32 of shape (1280, 120), got 'float64 of (1280, 120)'"),
        ({KERNEL: "text"}, "must be float32 of shape (1280, 120), got 'object of ()'"),
    ],
)
def test_other_files_are_refused(write: Callable[[dict[str, Any]], Path], content: dict[str, Any], said: str) -> None:
    assert said in refusal(write(content))


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        checkpoint.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_data_outside_the_file_is_not_read(tmp_path: Path) -> None:
    path, secret = tmp_path / "weights.h5", tmp_path / "secret"
    secret.write_bytes(bytes(1280 * 120 * 4))
    with h5py.File(path, "w") as file:
        external = [(str(secret), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset(KERNEL, (1280, 120), np.float32, external=external)
    assert "must lie in the file itself" in refusal(path)
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((1280, 120), np.float32)
        layout[:] = h5py.VirtualSource("other.h5", "data", (1280, 120))
        file.create_virtual_dataset(KERNEL, layout)
    assert "must lie in the file itself" in refusal(path)


def test_damaged_files_are_refused(write: Callable[[dict[str, Any]], Path]) -> None:
    path = write({KERNEL: np.zeros((1280, 120), np.float32)})
    content = path.read_bytes()
    for size in (len(whenet.HDF5_SIGNATURE), 100, 1000, len(content) - 1000):
        path.write_bytes(content[:size])
        assert "must be a readable HDF5 file" in refusal(path)


def test_without_h5py(write: Callable[[dict[str, Any]], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write({})
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert refusal(path).endswith("install whc[whenet]")
