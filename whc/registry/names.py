"""Names of the registered models, read without MLflow, as its import takes seconds."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from whc.registry.location import Location


def registered_names(location: Location) -> list[str]:
    """Sorted names of the registered models; empty where a server has them, or no sqlite file can be read."""
    if location.is_shared:
        return []
    try:
        # As a URI, because `mode=ro` does not create a missing database.
        with closing(
            sqlite3.connect(f"{location.database.resolve().as_uri()}?mode=ro", uri=True, timeout=0)
        ) as database:
            return [str(name) for (name,) in database.execute("SELECT name FROM registered_models ORDER BY name")]
    except sqlite3.Error:
        return []
