"""Locks that let one process at a time register in a registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from whc.config import fingerprint
from whc.errors import RegistryError
from whc.paths import user_cache
from whc.registry.location import Location

LOCK_LIMIT_S = 300
CONNECT_LIMIT_S = 5
_ADVISORY_KEY = 0x776863  # "whc": PostgreSQL's locks have numbers
_LOCK_NOT_AVAILABLE = "55P03"


@contextmanager
def locked(location: Location) -> Iterator[None]:
    """Lock the registry for this process; wait while another process holds the lock, which ends with its process.

    A file locks sqlite, and PostgreSQL has locks of its own. MLflow's server has none: there the lock holds for this
    user on this machine alone.

    Raises:
        RegistryError: another process holds the lock for minutes.
    """
    if location.is_shared and not location.is_http:
        with _in_postgres(location):
            yield
        return
    try:
        with FileLock(_lock_file(location), timeout=LOCK_LIMIT_S):
            yield
    except Timeout as error:
        raise _taken(location) from error


def _lock_file(location: Location) -> Path:
    if not location.is_shared:
        file = location.database.resolve()
        return file.with_name(f".{file.name}.lock")
    file = user_cache() / "registry" / f"{fingerprint(location.shown)}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


@contextmanager
def _in_postgres(location: Location) -> Iterator[None]:
    engine = create_engine(location.mlflow_uri, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_LIMIT_S})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            connection.execute(text(f"SET lock_timeout = '{LOCK_LIMIT_S}s'"))
            connection.execute(text(f"SELECT pg_advisory_lock({_ADVISORY_KEY})"))
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            raise _taken(location) from error
        yield  # the lock ends with the connection


def _taken(location: Location) -> RegistryError:
    rule = f"must be free within {LOCK_LIMIT_S} s, got another whc that registers"
    return RegistryError(f"{location.shown}: {rule}; wait until it has ended, then run this again")
