"""Records on disk: written atomically, checked when read, in folders that one process locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Annotated, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whc.errors import StudyError
from whc.records.writing import write_atomic

RECORD_SCHEMA = 2  # of records and metadata; 2: scores of any task
MEND_RECORD = "delete the file and use --resume"
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]  # milliseconds, ratios
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]  # scores
Seconds = Annotated[float, Field(allow_inf_nan=False)]  # below 0 if the clock was set back
Count = Annotated[int, Field(ge=0)]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]  # cannot lead to another folder


class Record(BaseModel):
    """Base of all records: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnyRecord = TypeVar("AnyRecord", bound=Record)


def save(record: Record, path: Path) -> None:
    """Write a record as JSON, atomically."""
    write_atomic(path, record.model_dump_json(by_alias=True, indent=1) + "\n")


def load(kind: type[AnyRecord], path: Path, next_step: str = MEND_RECORD) -> AnyRecord:
    """Read a record.

    Args:
        kind: class of the record.
        path: the file.
        next_step: advice for a damaged file.

    Raises:
        StudyError: the file is missing or holds no such record.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StudyError(f"{path}: must be readable, got {error.strerror}; is this a study's folder?") from error
    except ValidationError as error:
        first_error = error.errors()[0]
        where = ": ".join(filter(None, (str(path), ".".join(map(str, first_error["loc"])))))
        has_value = first_error["type"] != "json_invalid" and first_error["loc"]
        got = f", got {shorten(repr(first_error['input']), 60)}" if has_value else ""
        next_step = "upgrade whc" if first_error["loc"] == ("schema",) else next_step
        raise StudyError(f"{where}: {first_error['msg']}{got}; {next_step}") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a study's folder for this process.

    Raises:
        StudyError: another process has locked it.
    """
    lock = FileLock(folder / "lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise StudyError(
            f"{folder}: must not be in use, got a running search or build; wait for it or stop it"
        ) from error
