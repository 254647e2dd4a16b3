"""Which file a name of a shared registry meant last, for when it does not answer."""

from __future__ import annotations

import json
from pathlib import Path

from whc.config import fingerprint
from whc.paths import user_cache
from whc.records import sha256, write_atomic
from whc.registry.files import cached
from whc.registry.location import Location


def remember(location: Location, name: str, suffix: str | None, path: Path) -> None:
    """Keep in the user's cache which file with a suffix a name means."""
    write_atomic(_note(location, name, suffix), json.dumps({"sha256": path.parent.name, "file": path.name}) + "\n")


def remembered(location: Location, name: str, suffix: str | None) -> Path | None:
    """The file with a suffix that a name meant last, if it is whole; None where it was never fetched."""
    note = _note(location, name, suffix)
    if not note.is_file():
        return None
    try:
        held = json.loads(note.read_text(encoding="utf-8"))
        path = cached(held["sha256"], held["file"])
    except (ValueError, KeyError, TypeError):  # a damaged note is as good as none
        return None
    return path if path.is_file() and sha256(path) == held["sha256"] else None


def _note(location: Location, name: str, suffix: str | None) -> Path:
    return user_cache() / "registry" / f"{fingerprint([location.shown, name, *filter(None, [suffix])])}.json"
