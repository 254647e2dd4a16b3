"""Files written so that a reader sees either nothing or all of them."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_STEM_BYTES = 150  # with all that is added, a name stays within the 255 bytes that file systems take


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that replaces `path` when the block succeeds, and is removed when it does not.

    It lies in the same folder, which is created, and ends in the same suffix, by which some libraries choose a format.
    What killed processes of this host have left of the same file is removed first.

    Raises:
        OSError: the operating system refuses; it names `path` where it would name the temporary file, or none.
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
        # What a write is refused with (a full disk) names no file, and the temporary one means nothing to a reader.
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait for the disk: a file that is renamed into place before it is written is empty after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _around_pid(path: Path) -> tuple[str, str]:
    """How the names of a file's temporary ones begin and end; of other hosts no process can be asked after."""
    stem = path.stem
    if len(os.fsencode(stem)) > MAX_STEM_BYTES:
        stem = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return f".{stem}.{platform.node()}-", f".tmp{path.suffix}"


def _remove_leftovers(folder: Path, prefix: str, suffix: str) -> None:
    for name in os.listdir(folder):  # noqa: PTH208 (a name is enough, and much quicker where files are many)
        pid = name.removeprefix(prefix).removesuffix(suffix)
        if name == f"{prefix}{pid}{suffix}" and pid.isdecimal() and not _is_alive(int(pid)):
            with suppress(OSError):  # what cannot be removed is not in the way
                (folder / name).unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True
