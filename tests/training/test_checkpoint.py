"""Checkpoints come back as they were, and what is no checkpoint is told in one line."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path

import pytest
import torch

from whc.errors import ArtifactError
from whc.models.assemble import ModelConfig, build
from whc.training.checkpoint import CHECKPOINT_SCHEMA, Checkpoint, load, save


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"width": 4, "depth": 1, "image_size": 8})
    return Checkpoint(
        config={"model": config.model_dump(mode="json")},
        weights=dict(build(config, 1).state_dict()),
        labels=["neutral", "lächelnd"],
        frame_rate=12.5,
        data_fingerprint="0123",
        code_version="test",
        epoch=3,
        val_score=0.75,
        study="wave",
        trial="t1",
    )


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("frame_rate", [12.5, None])
def test_round_trip(tmp_path: Path, checkpoint: Checkpoint, frame_rate: float | None) -> None:
    written = replace(checkpoint, frame_rate=frame_rate)
    save(written, tmp_path / "checkpoint.pt")
    read = load(tmp_path / "checkpoint.pt")
    assert replace(read, weights={}) == replace(written, weights={})
    assert list(read.weights) == list(written.weights)
    for name, tensor in written.weights.items():
        assert read.weights[name].dtype == tensor.dtype
        assert torch.equal(read.weights[name], tensor)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_the_network_can_be_rebuilt(tmp_path: Path, checkpoint: Checkpoint) -> None:
    save(checkpoint, tmp_path / "checkpoint.pt")
    read = load(tmp_path / "checkpoint.pt")
    network = build(ModelConfig.model_validate(read.config["model"]), 1)
    network.load_state_dict(read.weights, strict=True)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, checkpoint.weights[name])


def test_writing_fails_without_harm(tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save(checkpoint, path)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save(replace(checkpoint, epoch=4), path)
    assert load(path).epoch == 3


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_a_bit_of_a_weight(content: bytes) -> bytes:
    """The file is as long as before and unpickles well."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        info = next(item for item in archive.infolist() if "/data/" in item.filename)
        start = content.index(archive.read(info), info.header_offset)
    return content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flip_a_bit_of_a_weight,
        lambda content: content[:-1],
        lambda content: content[10:],
        lambda content: b"",
        lambda content: b"hello",
    ],
)
def test_damaged_files(tmp_path: Path, checkpoint: Checkpoint, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "checkpoint.pt"
    save(checkpoint, path)
    path.write_bytes(damage(path.read_bytes()))
    assert "checkpoint" in refusal(path)


def test_missing_and_a_folder(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "checkpoint.pt")
    assert "must be a readable checkpoint" in refusal(tmp_path)


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("write", ["torch", "torch_legacy", "pickle"])
def test_code_in_the_file_is_never_run(tmp_path: Path, checkpoint: Checkpoint, write: str) -> None:
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "was_here"
    content = {"schema": CHECKPOINT_SCHEMA, **asdict(checkpoint), "study": Bomb(trace)}
    if write == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write == "torch")
    refusal(path)
    assert not trace.exists()
    if write == "torch":  # the bomb is live: it goes off where code may run
        torch.load(path, weights_only=False)
        assert trace.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "must be a checkpoint written by whc, got 'list'"),
        (torch.ones(2), "must be a checkpoint written by whc, got 'Tensor'"),
        ({"model_state": {}, "model_config": {}}, "must be a checkpoint written by whc"),
        ({"schema": CHECKPOINT_SCHEMA + 1}, "upgrade whc"),
        ({"schema": "one"}, "upgrade whc"),
        ({"schema": CHECKPOINT_SCHEMA, "config": {}}, "must hold all fields"),
    ],
)
def test_other_content(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "other.pt")
    assert said in refusal(tmp_path / "other.pt")


def test_fields_of_a_newer_version(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"schema": CHECKPOINT_SCHEMA + 1, **asdict(checkpoint), "mood": "good"}, path)
    assert "upgrade whc" in refusal(path)
    torch.save({"schema": CHECKPOINT_SCHEMA, **asdict(checkpoint), "mood": "good"}, path)
    assert "mood" in refusal(path)
