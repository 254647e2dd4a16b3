"""Names of the registered models, read from the database without MLflow, whose import takes seconds."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from whc.registry.location import Location


def registered_names(location: Location) -> list[str]:
    """Names of the models that the registry holds, sorted; none where it is missing, busy or not one."""
    try:
        # As an address, in which `mode=ro` makes no database where there is none.
        with closing(
            sqlite3.connect(f"{location.database.resolve().as_uri()}?mode=ro", uri=True, timeout=0)
        ) as database:
            return [str(name) for (name,) in database.execute("SELECT name FROM registered_models ORDER BY name")]
    except sqlite3.Error:
        return []
