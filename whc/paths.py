"""Paths that a user gives, and the folder that whc keeps files in between commands."""

from __future__ import annotations

import os
from pathlib import Path


def is_file(path: Path) -> bool:
    """Whether there is a file; also False for a name that no file can have, where pathlib raises an OSError."""
    try:
        return path.is_file()
    except OSError:
        return False


def user_cache() -> Path:
    """The folder of files that whc can make or fetch again; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whc"
