"""Files on disk: records, written atomically, checked when read, and locked for one process."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import shorten
from typing import Annotated, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whc.errors import StudyError

RECORD_SCHEMA = 2  # of records and metadata; 2: scores of any task
MAX_STEM_BYTES = 150  # with all additions a name stays within the 255 bytes that file systems allow
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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that replaces `path` when the block succeeds, and is removed when it does not.

    It is in the same folder, which is created, and has the same suffix, by which some libraries choose a format.
    Temporary files of the same path from killed processes of this host are removed first.

    Raises:
        OSError: the operating system refuses; the error names `path` instead of the temporary file or no file.
    """
    prefix, suffix = _around_pid(path)
    temporary = path.with_name(f"{prefix}{os.getpid()}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent, prefix, suffix)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        # The error of a full disk names no file, and the temporary file means nothing to a reader.
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait for the disk: a file renamed before its content is on disk would be empty after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _around_pid(path: Path) -> tuple[str, str]:
    """Beginning and end of a file's temporary names; they hold the host, as only its own processes can be checked."""
    stem = path.stem
    if len(os.fsencode(stem)) > MAX_STEM_BYTES:
        stem = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return f".{stem}.{platform.node()}-", f".tmp{path.suffix}"


def _remove_leftovers(folder: Path, prefix: str, suffix: str) -> None:
    for name in os.listdir(folder):  # noqa: PTH208 (names alone, which is much faster in large folders)
        pid = name.removeprefix(prefix).removesuffix(suffix)
        if name == f"{prefix}{pid}{suffix}" and pid.isdecimal() and not _is_alive(int(pid)):
            with suppress(OSError):  # a leftover file does no harm
                (folder / name).unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # a process of another user
        return True
    return True


def write_atomic(path: Path, text: str) -> None:
    """Write a file so that readers see all of it or nothing, even after a crash."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
