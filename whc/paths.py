"""Paths that a user gives, and the folder that whc keeps files in between commands."""

from __future__ import annotations

import os
from pathlib import Path

from whc.errors import UsageError


def is_file(path: Path) -> bool:
    """Whether there is a file; also False for a name that no file can have, where pathlib raises an OSError."""
    try:
        return path.is_file()
    except OSError:
        return False


def user_cache() -> Path:
    """The folder of files that whc can make or fetch again; it may not exist yet.

    Raises:
        UsageError: the user has no home folder.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whc"
    except RuntimeError as error:
        raise UsageError(
            "HOME: must name the user's folder, got none; set it, or XDG_CACHE_HOME to a folder for files of whc"
        ) from error
