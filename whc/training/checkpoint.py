"""Checkpoints: weights and all that rebuilding and exporting the network needs; loading runs no code."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from whc.config import laid_over
from whc.data.preprocess import INTERPOLATION
from whc.errors import ArtifactError, problem
from whc.models import vit
from whc.records import CropRule, first_schema, replacing
from whc.training.originals import classifiers, uhd, whenet

CHECKPOINT_SCHEMA = 2  # 2: scores of any task
_WEIGHTS = TypeAdapter(dict[str, Tensor], config=ConfigDict(arbitrary_types_allowed=True))
# Damaged and forged files have raised each of these.
_CANNOT_LOAD = (
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
)


@dataclass(frozen=True)
class Checkpoint:
    """A trained network in a file.

    `config` is what `whc train --config` reads; `labels` are those of the task; `frame_rate` in frames a second or
    None; `interpolation` is how its training images were resized, `crop` how they were cut (None: not known).
    `progress` is the state of the training (`whc.training.loop.Trainer.state`), None in a file with weights alone.
    """

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    config: dict[str, Any]
    weights: dict[str, Tensor]
    labels: list[str]
    frame_rate: float | None
    data_fingerprint: str
    code_version: str
    epoch: int
    val_score: float
    study: str = ""
    trial: str = ""
    interpolation: str = INTERPOLATION
    crop: CropRule | None = None
    progress: dict[str, Any] | None = None


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint, renamed into place when complete."""
    fields = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}  # asdict copies tensors
    fields["crop"] = checkpoint.crop and checkpoint.crop.model_dump()  # plain values, which load without code
    content = io.BytesIO()  # not a file: PyTorch reports a failed write as a RuntimeError about its own code
    torch.save({"schema": CHECKPOINT_SCHEMA, **fields}, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load(path: Path, changes: Mapping[str, Any] | None = None) -> Checkpoint:
    """Read a checkpoint, ours or one of the original projects; code inside the file is never run.

    Args:
        path: the file.
        changes: laid over its configuration, unchecked; with them come values that an original's file does not hold.

    Raises:
        ArtifactError: missing, truncated, not a checkpoint, or from a newer version.
    """
    try:
        saved = TypeAdapter(Checkpoint).validate_python(_fields(path, changes or {}))
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ArtifactError(f"{path}: must hold all fields of a checkpoint, got: {reason}; train it again") from error
    _check_bytes(path, saved.weights)
    return replace(saved, config=laid_over(saved.config, changes or {}))


def load_vit(path: Path) -> dict[str, Tensor] | None:
    """Read a file of a plain ViT's weights alone (`whc.models.vit`); None if it is another file that can be read.

    Raises:
        ArtifactError: missing, truncated, or not of tensors alone.
    """
    content = None if whenet.is_hdf5(path) else _content(path)
    if not isinstance(content, dict) or vit.MARK not in content:
        return None
    try:
        weights = _WEIGHTS.validate_python(content)
    except ValidationError as error:
        raise _no_checkpoint(path, "a ViT with more in it than tensors") from error
    _check_bytes(path, weights)
    return weights


def _check_bytes(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Refuse a forged tensor of a large shape over a single stored number: later copies would fill the memory."""
    if sum(tensor.numel() * tensor.element_size() for tensor in weights.values()) > path.stat().st_size:
        raise _no_checkpoint(path, "weights of more bytes than the file has")


def _fields(path: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Checkpoint` in a file, not checked yet; raises ArtifactError where the file holds none."""
    if whenet.is_hdf5(path):
        return whenet.read(path)
    content = _content(path)
    if not isinstance(content, dict):
        raise _no_checkpoint(path, type(content).__name__)
    if "schema" not in content and content.keys() >= uhd.CHECKPOINT_KEYS:
        return uhd.translate(content, str(path), changes)
    if "schema" not in content:
        lacking = classifiers.CHECKPOINT_KEYS - content.keys()
        if lacking:
            theirs = f"an original's without {', '.join(sorted(lacking))}"
            raise _no_checkpoint(path, theirs if lacking < classifiers.CHECKPOINT_KEYS else "dict")
        return classifiers.translate(content, str(path))
    schema = content.pop("schema")
    if not isinstance(schema, int) or schema > CHECKPOINT_SCHEMA:
        rule = f"checkpoint schema must be at most {CHECKPOINT_SCHEMA}"
        raise ArtifactError(problem(str(path), rule, schema, "upgrade whc"))
    return first_schema.checkpoint(content) if schema == 1 else content


def _content(path: Path) -> Any:
    """Content of a file, as PyTorch reads it; raises ArtifactError if it cannot."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > path.stat().st_size:
                raise zipfile.BadZipFile("more in it than the file holds")  # PyTorch compresses nothing
            damaged = archive.testzip()  # torch.load does not compare checksums
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArtifactError(f"{path}: must be a readable checkpoint, got {error.strerror}; check the path") from error
    except _CANNOT_LOAD as error:
        raise _no_checkpoint(path, _reason(error)) from error


def _no_checkpoint(path: Path, got: str) -> ArtifactError:
    return ArtifactError(problem(str(path), "must be a checkpoint written by whc", got, "train it again"))


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return "not weights and plain values alone (code is never run)"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
