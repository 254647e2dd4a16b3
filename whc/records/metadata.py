"""Metadata of exported files, and the version of the code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from whc import __version__
from whc.errors import ArtifactError, problem
from whc.records import first_schema
from whc.records.files import RECORD_SCHEMA, Record


class CropRule(BaseModel):
    """How crops are cut around a detector's boxes.

    The smallest crop of the width over height `aspect` that covers a box has scale 1. `scale` is the crop's side over
    the side of that one. `offset_x` and `offset_y` are how far the crop's centre lies to the right of the box's centre,
    and below it, in shares of the smallest crop's width and height. `detector` names what found the boxes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: str = ""
    scale: float = Field(1.0, gt=0, le=4)
    offset_x: float = Field(0.0, ge=-2, le=2)
    offset_y: float = Field(0.0, ge=-2, le=2)
    aspect: float = Field(1.0, gt=0.01, lt=100)


class ModelMetadata(Record):
    """Metadata of an exported file; each field is a `whc.` property of the ONNX model.

    `height` and `width` are in pixels, `frames` counts the frames of one input, `frame_rate` is in frames a second
    (None: every frame of the stream), `task_config` holds the parameters of the task that interpret the output, `crop`
    how the crops of the training data were cut (None: not known).
    """

    schema_version: int = Field(RECORD_SCHEMA, alias="schema")
    task: str
    labels: list[str]
    task_config: dict[str, Any] = {}
    layout: str
    frames: int
    frame_rate: float | None
    height: int
    width: int
    resize: str
    interpolation: str
    crop: CropRule | None = None
    study: str = ""
    trial: str = ""
    data_fingerprint: str
    code_version: str

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def to_properties(self) -> dict[str, str]:
        """ONNX metadata properties: text unchanged, all other values as JSON."""
        fields = self.model_dump(by_alias=True, exclude={"crop"} if self.crop is None else None)
        return {
            f"whc.{key}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in fields.items()
        }

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], source: str) -> ModelMetadata:
        """Read the properties of an ONNX model.

        Raises:
            ArtifactError: the file was not exported by whc, or by a newer version.
        """
        ours = {key.removeprefix("whc."): value for key, value in properties.items() if key.startswith("whc.")}
        if not ours:
            raise ArtifactError(f"{source}: must carry whc's metadata, got none; export it with `whc export`")
        text_fields = {name for name, field in cls.model_fields.items() if field.annotation is str}
        try:
            # The schema first: a newer whc may write fields of other kinds.
            schema = json.loads(ours.get("schema", "0"))
            if not isinstance(schema, int) or schema > RECORD_SCHEMA:
                raise ArtifactError(
                    problem(source, f"metadata schema must be at most {RECORD_SCHEMA}", schema, "upgrade whc")
                )
            ours = first_schema.metadata(ours) if schema == 1 else ours
            decoded = {key: value if key in text_fields else json.loads(value) for key, value in ours.items()}
            return cls.model_validate(decoded)
        except (ValueError, RecursionError) as error:  # pydantic's and json's, and numbers of thousands of digits
            reason = str(error).splitlines()[0]
            raise ArtifactError(f"{source}: whc's metadata is damaged ({reason}); export the model again") from error


@cache
def code_version() -> str:
    """Version of whc, with the commit when it runs from a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return __version__
    # Not `describe --dirty`: it writes Git's index, and a process killed meanwhile leaves the index locked.
    name = ("describe", "--always", "--abbrev=10")
    changes = ("--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
    try:
        commit, changed = (_git(root, *arguments) for arguments in (name, changes))
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+{commit}{'-dirty' if changed else ''}"


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
