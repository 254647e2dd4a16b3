"""The three splits, and what else they are called."""

from __future__ import annotations

ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
SPLITS = tuple(dict.fromkeys(ALIASES.values()))


def split_named(name: str) -> str | None:
    """The split that a name stands for, whatever its case; None when it stands for none."""
    return ALIASES.get(name.strip().casefold())
