"""The registry's sqlite file: creating it, and moving it with its project."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.file_utils import local_file_uri_to_path

from whc.registry.failures import newest_revision, other_version
from whc.registry.location import Location
from whc.registry.locking import locked

KIND_TAG = "whc.kind"  # on every run and experiment that whc writes
BUSY_LIMIT_S = 20  # as MLflow's own
_EMPTY_TABLES = ("alembic_version", "workspaces", "experiments")  # MLflow itself writes rows into these
_OUR_RUNS_SQL = f"SELECT run_uuid, artifact_uri FROM runs JOIN tags USING (run_uuid) WHERE key = '{KIND_TAG}'"  # noqa: S608
_OUR_EXPERIMENTS_SQL = f"""
SELECT experiment_id, artifact_location FROM experiments WHERE experiment_id IN (
    SELECT experiment_id FROM experiment_tags WHERE key = '{KIND_TAG}'
    UNION SELECT experiment_id FROM runs JOIN tags USING (run_uuid) WHERE key = '{KIND_TAG}')
OR experiment_id = 0 AND NOT EXISTS (SELECT 1 FROM runs WHERE experiment_id = 0)
"""  # noqa: S608 (no user input)


def prepare(location: Location) -> None:
    """Create the database where there is none, or where its creation was interrupted.

    It is created under another name and then renamed, so that nobody sees an incomplete database.

    Raises:
        RegistryError: it is damaged, locked or of another version of MLflow.
    """
    if _is_ready(location):
        return
    file = location.database.resolve()
    new = Location(database=file.with_name(f".{file.name}.new"), artifacts=location.artifacts)
    new_uri, artifacts_uri = new.mlflow_uri, new.artifacts_uri
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(location):
        if _is_ready(location):  # another process has created it meanwhile
            return
        _remove(new.database)  # left by a process that was killed
        try:
            SqlAlchemyStore(new_uri, artifacts_uri).engine.dispose()
            _remove(file)  # with its journal: sqlite would apply that to the new file
            new.database.replace(file)
        finally:
            _remove(new.database)


def update_paths(location: Location) -> None:
    """Correct the paths in the database after its project was moved or copied to another folder.

    MLflow stores absolute paths. A run is left as it is when its files are not here but still at the stored path.
    """
    with closing(_connect(location)) as connection, connection:
        runs = [
            (location.run_uri(run), run)
            for run, uri in connection.execute(_OUR_RUNS_SQL)
            if _is_moved(location, run, uri)
        ]
        experiments = [
            (location.artifacts_uri if experiment else f"{location.artifacts_uri}/0", experiment)
            for experiment, uri in connection.execute(_OUR_EXPERIMENTS_SQL)
            if uri.removesuffix("/0") != location.artifacts_uri
        ]
        # Where nothing has moved, nothing is written: the folder may be read-only.
        if runs:
            connection.executemany("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", runs)
            connection.executemany(
                "UPDATE model_versions SET source = ?1, storage_location = ?1 WHERE run_id = ?2", runs
            )
        if experiments:
            connection.executemany("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", experiments)


def _is_moved(location: Location, run_id: str, uri: str) -> bool:
    if uri == location.run_uri(run_id):
        return False
    return location.run_folder(run_id).is_dir() or not Path(local_file_uri_to_path(uri)).is_dir()


def _is_ready(location: Location) -> bool:
    """Whether MLflow can open the database as it is.

    Raises:
        RegistryError: it is of another version.
        sqlite3.Error: it is damaged or locked.
    """
    if not location.database.is_file():
        return False
    with closing(_connect(location)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        has_all_tables = tables.issuperset(Base.metadata.tables)
        if _has_content(connection, tables):
            if not has_all_tables:  # MLflow would migrate it at once, and a kill would leave it half migrated
                raise other_version(location, _revision(location))
            return True
    return has_all_tables and _revision(location) == newest_revision()


def _has_content(connection: sqlite3.Connection, tables: set[str]) -> bool:
    if "experiments" in tables and connection.execute("SELECT 1 FROM experiments WHERE experiment_id != 0").fetchone():
        return True
    filled_by_whc = tables.difference(_EMPTY_TABLES)
    return any(connection.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() for table in filled_by_whc)  # noqa: S608 (its own names)


def _revision(location: Location) -> str | None:
    """The revision that MLflow's migrations have reached; None where they have not begun."""
    with closing(_connect(location)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_ERROR":  # SQLITE_ERROR: there is no such table
                raise
            return None
        return str(row[0]) if row else None


def _connect(location: Location) -> sqlite3.Connection:
    return sqlite3.connect(location.database, timeout=BUSY_LIMIT_S)


def _remove(database: Path) -> None:
    for ending in ("-journal", "-wal", "-shm", ""):
        database.with_name(database.name + ending).unlink(missing_ok=True)
