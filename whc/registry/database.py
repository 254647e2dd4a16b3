"""The registry's sqlite file: creating it, moving it with its project, and the errors when it cannot be used."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import mlflow
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy.exc import SQLAlchemyError

from whc.errors import RegistryError, problem
from whc.registry.location import Location

KIND_TAG = "whc.kind"  # on every run and experiment that whc writes
BUSY_LIMIT_S = 20  # as MLflow's own
LOCK_LIMIT_S = 300
_MIGRATIONS_FOLDER = Path(mlflow.__file__).parent / "store" / "db_migrations"
_EMPTY_TABLES = ("alembic_version", "workspaces", "experiments")  # MLflow itself writes rows into these
_OUR_RUNS_SQL = f"SELECT run_uuid, artifact_uri FROM runs JOIN tags USING (run_uuid) WHERE key = '{KIND_TAG}'"  # noqa: S608
_OUR_EXPERIMENTS_SQL = f"""
SELECT experiment_id, artifact_location FROM experiments WHERE experiment_id IN (
    SELECT experiment_id FROM experiment_tags WHERE key = '{KIND_TAG}'
    UNION SELECT experiment_id FROM runs JOIN tags USING (run_uuid) WHERE key = '{KIND_TAG}')
OR experiment_id = 0 AND NOT EXISTS (SELECT 1 FROM runs WHERE experiment_id = 0)
"""  # noqa: S608 (no user input)
_OUTDATED_MESSAGE = "Detected out-of-date database schema"
_IN_USE_ADVICE = "close what else uses it (`whc ui`, another program), or wait, then run this again"
_NEXT_STEPS = {
    "SQLITE_BUSY": _IN_USE_ADVICE,
    "SQLITE_LOCKED": _IN_USE_ADVICE,
    "SQLITE_FULL": "free some disk space, then run this again",
    "SQLITE_READONLY": "make the file and its folder writable, then run this again",
    "SQLITE_PERM": "make the file and its folder writable, then run this again",
    "SQLITE_CANTOPEN": "make the file and its folder readable and writable, then run this again",
    "SQLITE_IOERR": "see to the disk, then run this again",
}
_REPAIR_ADVICE = (
    "restore it from a backup (the models' files in {} are whole), or save what can be read: sqlite3 {} .recover"
)


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
    new_uri, artifacts_uri = new.tracking_uri, new.artifacts_uri
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


@contextmanager
def locked(location: Location) -> Iterator[None]:
    """Lock the registry for this process; wait while another process holds the lock.

    Raises:
        RegistryError: another process holds the lock for minutes.
    """
    file = location.database.resolve()
    try:
        with FileLock(file.with_name(f".{file.name}.lock"), timeout=LOCK_LIMIT_S):
            yield
    except Timeout as error:
        rule = f"must be free within {LOCK_LIMIT_S} s, got another whc that registers"
        raise RegistryError(f"{location.database}: {rule}; wait until it has ended, then run this again") from error


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


@contextmanager
def as_registry_errors(location: Location) -> Iterator[None]:
    """Turn the errors of MLflow and its database into a RegistryError of one line.

    Raises:
        RegistryError: the database is locked, damaged, of another MLflow version, or cannot be written.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        if str(error).startswith(_OUTDATED_MESSAGE):
            raise _other_version(location) from error
        reason = str(error).splitlines()[0]
        rule = f"must be a usable registry, got: {reason}"
        raise RegistryError(f"{location.database}: {rule}; {_next_step(location, error)}") from error


def _next_step(location: Location, error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = getattr(cause, "orig", None) or cause.__cause__
    name = getattr(cause, "sqlite_errorname", "")
    for error_name, next_step in _NEXT_STEPS.items():
        if name.startswith(error_name):  # extended names are longer, such as SQLITE_IOERR_WRITE
            return next_step
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return _REPAIR_ADVICE.format(location.artifacts, shlex.quote(str(location.database)))
    return "run this again; nothing that was registered is lost"


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
                raise _other_version(location)
            return True
    return has_all_tables and _revision(location) == ScriptDirectory(str(_MIGRATIONS_FOLDER)).get_current_head()


def _has_content(connection: sqlite3.Connection, tables: set[str]) -> bool:
    if "experiments" in tables and connection.execute("SELECT 1 FROM experiments WHERE experiment_id != 0").fetchone():
        return True
    filled_by_whc = tables.difference(_EMPTY_TABLES)
    return any(connection.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() for table in filled_by_whc)  # noqa: S608 (its own names)


def _other_version(location: Location) -> RegistryError:
    revision = _revision(location)
    try:
        is_older = bool(ScriptDirectory(str(_MIGRATIONS_FOLDER)).get_revision(revision or "base"))
    except CommandError:
        is_older = False
    if is_older or revision is None:
        command = f"python -m mlflow db upgrade {shlex.quote(location.tracking_uri)}"
        next_step = f"keep a copy of it, then run `{command}`"
    else:
        next_step = "a newer MLflow made it: `pip install` the version that you had then"
    rule = f"must be of MLflow {mlflow.__version__}"
    return RegistryError(problem(str(location.database), rule, f"revision {revision}", next_step))


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
