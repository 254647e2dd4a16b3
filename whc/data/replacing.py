"""A file appears under its name when it is whole; what a killed process left half-written is cleared."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_MAX_STEM_BYTES = 150  # with all that is added, a name stays within the 255 bytes that file systems take


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, of the same suffix, that replaces it when the block succeeds.

    It is removed when the block fails. Those that killed processes of this host left for the same path are removed
    first.
    """
    stem = path.stem
    if len(os.fsencode(stem)) > _MAX_STEM_BYTES:
        stem = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    prefix, suffix = f".{stem}.{platform.node()}-", f".tmp{path.suffix}"
    _clear(path.parent, prefix, suffix)
    temporary = path.with_name(f"{prefix}{os.getpid()}{suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):  # gone, or never there; on a read-only disk what has failed before is what is told
            temporary.unlink()


def _clear(folder: Path, prefix: str, suffix: str) -> None:
    with suppress(OSError):  # what cannot be listed or removed is not in the way
        for path in folder.iterdir():
            process = path.name.removeprefix(prefix).removesuffix(suffix)
            is_ours = path.name == f"{prefix}{process}{suffix}" and process.isdecimal()
            if is_ours and not psutil.pid_exists(int(process)):
                path.unlink()
