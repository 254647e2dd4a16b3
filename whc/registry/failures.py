"""What MLflow and its databases refuse, in one line."""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from whc.errors import RegistryError, RegistryUnavailable, problem
from whc.registry.location import Location
from whc.registry.masking import hidden

_MIGRATIONS_FOLDER = Path(mlflow.__file__).parent / "store" / "db_migrations"
_MAX_REASON_LENGTH = 200
_CAUSE = re.compile(r"\[Errno -?\d+\] ([^'\")\n]+)|(?<=: )([^:()]*timed out\.)")
_LATER_ADVICE = "try again when it runs"
_OUTDATED_MESSAGE = "Detected out-of-date database schema"
_FOUND_REVISION = re.compile(r"\(found version (\w+)")
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


@contextmanager
def as_registry_errors(location: Location) -> Iterator[None]:
    """Turn the errors of MLflow and its database into a RegistryError of one line.

    Raises:
        RegistryError: the database is locked, damaged, of another MLflow version, or cannot be written.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, RequestException) as error:
        if location.is_shared:
            rule = f"must answer as MLflow's registry, got: {reason(error, location)}"
            raise RegistryUnavailable(f"{location.shown}: {rule}; {_LATER_ADVICE}") from error
        if str(error).startswith(_OUTDATED_MESSAGE):
            found = _FOUND_REVISION.search(str(error))
            raise other_version(location, found[1] if found else None) from error
        rule = f"must be a usable registry, got: {reason(error, location)}"
        raise RegistryError(f"{location.shown}: {rule}; {_next_step(location, error)}") from error


def reason(error: Exception, location: Location) -> str:
    """The first line of an error, without what is secret in the registry's address."""
    text = hidden(str(error), location.tracking_uri)
    if cause := _CAUSE.search(text):  # the last words of a long chain of errors
        return cause[1] or cause[2]
    line = next(iter(text.strip().splitlines()), type(error).__name__)
    line = line.partition(" failed with exception ")[2] or line  # without the request, which no user made
    return line if len(line) <= _MAX_REASON_LENGTH else f"{line[:_MAX_REASON_LENGTH]}..."


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


def newest_revision() -> str | None:
    """The revision of the tables that this version of MLflow works with."""
    return ScriptDirectory(str(_MIGRATIONS_FOLDER)).get_current_head()


def other_version(location: Location, revision: str | None) -> RegistryError:
    """The error for a database whose tables are of another version of MLflow."""
    try:
        is_older = bool(ScriptDirectory(str(_MIGRATIONS_FOLDER)).get_revision(revision or "base"))
    except CommandError:
        is_older = False
    if is_older or revision is None:
        address = location.shown if location.is_shared else location.mlflow_uri
        next_step = f"keep a copy of it, then run `python -m mlflow db upgrade {shlex.quote(address)}`"
    else:
        next_step = "a newer MLflow made it: `pip install` the version that you had then"
    kind = RegistryUnavailable if location.is_shared else RegistryError
    return kind(problem(location.shown, f"must be of MLflow {mlflow.__version__}", f"revision {revision}", next_step))
