"""The registry's sqlite file: made whole or not at all, moved with its project, and what is told when it fails."""

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

KIND_TAG = "whc.kind"  # on every run and experiment of ours
BUSY_LIMIT_S = 20  # as MLflow's own
LOCK_LIMIT_S = 300
_MIGRATIONS = Path(mlflow.__file__).parent / "store" / "db_migrations"
_EMPTY_TABLES = ("alembic_version", "workspaces", "experiments")  # MLflow puts rows into these by itself
_RUNS = f"SELECT run_uuid, artifact_uri FROM runs JOIN tags USING (run_uuid) WHERE key = '{KIND_TAG}'"  # noqa: S608
_EXPERIMENTS = f"""
SELECT experiment_id, artifact_location FROM experiments WHERE experiment_id IN (
    SELECT experiment_id FROM experiment_tags WHERE key = '{KIND_TAG}'
    UNION SELECT experiment_id FROM runs JOIN tags USING (run_uuid) WHERE key = '{KIND_TAG}')
OR experiment_id = 0 AND NOT EXISTS (SELECT 1 FROM runs WHERE experiment_id = 0)
"""  # noqa: S608 (no word of a user's)
_OUTDATED = "Detected out-of-date database schema"
_IN_USE = "close what else uses it (`whc ui`, another program), or wait, then run this again"
_NEXT_STEPS = {
    "SQLITE_BUSY": _IN_USE,
    "SQLITE_LOCKED": _IN_USE,
    "SQLITE_FULL": "free some disk space, then run this again",
    "SQLITE_READONLY": "make the file and its folder writable, then run this again",
    "SQLITE_PERM": "make the file and its folder writable, then run this again",
    "SQLITE_CANTOPEN": "make the file and its folder readable and writable, then run this again",
    "SQLITE_IOERR": "see to the disk, then run this again",
}
_DAMAGED = "restore it from a backup (the models' files in {} are whole), or save what can be read: sqlite3 {} .recover"


def prepare(location: Location) -> None:
    """Make the database where there is none, or where making it was cut off before anything was kept in it.

    It is made under another name and then renamed, so that it is never found half-made.

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
        if _is_ready(location):  # another process has made it meanwhile
            return
        _remove(new.database)  # left by a kill
        try:
            SqlAlchemyStore(new_uri, artifacts_uri).engine.dispose()
            _remove(file)  # with its journal, which would be played on the new one
            new.database.replace(file)
        finally:
            _remove(new.database)


@contextmanager
def locked(location: Location) -> Iterator[None]:
    """Hold the registry for this process alone, once whoever holds it has finished.

    Raises:
        RegistryError: it is held for minutes.
    """
    file = location.database.resolve()
    try:
        with FileLock(file.with_name(f".{file.name}.lock"), timeout=LOCK_LIMIT_S):
            yield
    except Timeout as error:
        rule = f"must be free within {LOCK_LIMIT_S} s, got another whc that registers"
        raise RegistryError(f"{location.database}: {rule}; wait until it has ended, then run this again") from error


def adopt(location: Location) -> None:
    """Let the database name the project at hand, whichever folder it was in before.

    MLflow stores whole paths at first use. A run that has its files elsewhere, and not here, is left as it is.
    """
    with closing(_opened(location)) as opened, opened:
        runs = [(location.run_uri(run), run) for run, uri in opened.execute(_RUNS) if _is_moved(location, run, uri)]
        experiments = [
            (location.artifacts_uri if experiment else f"{location.artifacts_uri}/0", experiment)
            for experiment, uri in opened.execute(_EXPERIMENTS)
            if uri.removesuffix("/0") != location.artifacts_uri
        ]
        # Nothing is written where nothing has moved: the folder may be read-only.
        if runs:
            opened.executemany("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", runs)
            opened.executemany("UPDATE model_versions SET source = ?1, storage_location = ?1 WHERE run_id = ?2", runs)
        if experiments:
            opened.executemany("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", experiments)


def _is_moved(location: Location, run_id: str, uri: str) -> bool:
    if uri == location.run_uri(run_id):
        return False
    return location.run_folder(run_id).is_dir() or not Path(local_file_uri_to_path(uri)).is_dir()


@contextmanager
def told_in_one_line(location: Location) -> Iterator[None]:
    """Turns what MLflow and its database raise into a RegistryError.

    Raises:
        RegistryError: the database is locked, damaged, of another MLflow version, or cannot be written.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        if str(error).startswith(_OUTDATED):
            raise _other_version(location) from error
        reason = str(error).splitlines()[0]
        rule = f"must be a usable registry, got: {reason}"
        raise RegistryError(f"{location.database}: {rule}; {_next_step(location, error)}") from error


def _next_step(location: Location, error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = getattr(cause, "orig", None) or cause.__cause__
    name = getattr(cause, "sqlite_errorname", "")
    for known, next_step in _NEXT_STEPS.items():
        if name.startswith(known):  # extended names are longer: SQLITE_IOERR_WRITE
            return next_step
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return _DAMAGED.format(location.artifacts, shlex.quote(str(location.database)))
    return "run this again; nothing that was registered is lost"


def _is_ready(location: Location) -> bool:
    """Whether MLflow can open the database; what another version of it made is told.

    Raises:
        RegistryError: it is of another version.
        sqlite3.Error: it is damaged or locked.
    """
    if not location.database.is_file():
        return False
    with closing(_opened(location)) as opened:
        tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        whole = tables.issuperset(Base.metadata.tables)
        if _keeps_something(opened, tables):
            if not whole:  # MLflow would change it on the spot, and a kill meanwhile would leave it half changed
                raise _other_version(location)
            return True
    return whole and _revision(location) == ScriptDirectory(str(_MIGRATIONS)).get_current_head()


def _keeps_something(opened: sqlite3.Connection, tables: set[str]) -> bool:
    if "experiments" in tables and opened.execute("SELECT 1 FROM experiments WHERE experiment_id != 0").fetchone():
        return True
    kept = tables.difference(_EMPTY_TABLES)
    return any(opened.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() for table in kept)  # noqa: S608 (its own names)


def _other_version(location: Location) -> RegistryError:
    revision = _revision(location)
    try:
        is_older = bool(ScriptDirectory(str(_MIGRATIONS)).get_revision(revision or "base"))
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
    """What MLflow's migrations have come to, None where they have not begun."""
    with closing(_opened(location)) as opened:
        try:
            row = opened.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_ERROR":  # that is: no such table
                raise
            return None
        return str(row[0]) if row else None


def _opened(location: Location) -> sqlite3.Connection:
    return sqlite3.connect(location.database, timeout=BUSY_LIMIT_S)


def _remove(database: Path) -> None:
    for ending in ("-journal", "-wal", "-shm", ""):
        database.with_name(database.name + ending).unlink(missing_ok=True)
