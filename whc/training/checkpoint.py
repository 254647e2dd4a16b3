"""Checkpoints: weights and what is needed to rebuild and export the network, loadable without running code."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whc.data.preprocess import INTERPOLATION
from whc.errors import ArtifactError, problem
from whc.training import originals

SCHEMA = 1
_CANNOT_LOAD = (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError)


@dataclass(frozen=True)
class Checkpoint:
    """A trained network at rest.

    `config` is what `whc train --config` reads; `labels` is in order of class_id; `frame_rate` in frames a second or
    None; `interpolation` is how the images it learnt from were resized. `progress` is what training goes on from
    (`whc.training.loop.Trainer.state`), None in a file that holds weights alone.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    labels: list[str]
    frame_rate: float | None
    data_fingerprint: str
    code_version: str
    epoch: int
    val_f1: float
    study: str = ""
    trial: str = ""
    interpolation: str = INTERPOLATION
    progress: dict[str, Any] | None = None


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint, renamed into place when complete."""
    temporary = path.with_name(f".{path.name}.tmp")
    fields = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}  # asdict copies tensors
    torch.save({"schema": SCHEMA, **fields}, temporary)
    temporary.replace(path)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, ours or one of the original projects; code inside the file is never run.

    Raises:
        ArtifactError: missing, truncated, not a checkpoint, or from a newer version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load does not compare checksums
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArtifactError(f"{path}: must be a readable checkpoint, got {error.strerror}; check the path") from error
    except _CANNOT_LOAD as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(
            f"{path}: must be a checkpoint written by whc, got: {reason[:100]}; train it again"
        ) from error
    if isinstance(content, dict) and content.keys() >= originals.KEYS:
        return Checkpoint(**originals.translate(content, str(path)))
    if not isinstance(content, dict) or "schema" not in content:
        raise ArtifactError(
            problem(str(path), "must be a checkpoint written by whc", type(content).__name__, "train it again")
        )
    schema = content.pop("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ArtifactError(problem(str(path), f"checkpoint schema must be at most {SCHEMA}", schema, "upgrade whc"))
    try:
        return Checkpoint(**content)
    except TypeError as error:
        raise ArtifactError(f"{path}: must hold all fields of a checkpoint, got: {error}; train it again") from error
