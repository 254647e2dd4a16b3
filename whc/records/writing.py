"""Writing files so that readers see all of one or nothing, and the hash of what is in them."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_STEM_BYTES = 150  # with all additions a name stays within the 255 bytes that file systems allow


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
