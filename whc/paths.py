"""Paths that a user gives."""

from __future__ import annotations

from pathlib import Path


def is_file(path: Path) -> bool:
    """Whether there is a file; also False for a name that no file can have, where pathlib raises an OSError."""
    try:
        return path.is_file()
    except OSError:
        return False
