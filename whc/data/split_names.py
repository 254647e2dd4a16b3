"""The three splits, and other names for them."""

from __future__ import annotations

SPLIT_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
SPLIT_NAMES = tuple(dict.fromkeys(SPLIT_ALIASES.values()))


def split_named(name: str) -> str | None:
    """The split of a name in any case; None if the name is not that of a split."""
    return SPLIT_ALIASES.get(name.strip().casefold())
