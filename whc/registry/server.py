"""A shared registry, an MLflow server or a PostgreSQL database: whether it answers, and as what."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from requests import Response
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from whc.errors import RegistryUnavailable
from whc.registry.failures import newest_revision, other_version, reason
from whc.registry.location import Location
from whc.registry.locking import CONNECT_LIMIT_S, locked

_PROBE = "/api/2.0/mlflow/experiments/get"
_LOGIN_ADVICE = "correct the login in the URI, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
_ADDRESS_ADVICE = "correct `tracking_uri` in mlflow/server.yaml, or --tracking-uri"


def check(location: Location) -> None:
    """Ask a shared registry for an answer, so that nothing waits for one that is down; an empty database gets tables.

    Raises:
        RegistryUnavailable: nothing answers within seconds, or no registry that this version of MLflow can use.
    """
    if location.is_http:
        _check_server(location)
    else:
        _check_database(location)


def _check_server(location: Location) -> None:
    try:
        response = http_request(
            get_default_host_creds(location.mlflow_uri),
            _PROBE,
            "GET",
            params={"experiment_id": "0"},
            timeout=CONNECT_LIMIT_S,
            max_retries=0,
            raise_on_status=False,
        )
    except MlflowException as error:
        raise _unavailable(location, "must answer", reason(error, location), "try again when it runs") from error
    status = f"{response.status_code} {response.reason}"
    if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise _unavailable(location, "must accept the login", status, _LOGIN_ADVICE)
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _unavailable(location, "must answer", status, "see its log")
    if not _is_mlflow(response):
        kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
        raise _unavailable(location, "must be an MLflow server", f"{status}, {kind}", _ADDRESS_ADVICE)


def _is_mlflow(response: Response) -> bool:
    try:
        answer: Any = response.json()
    except ValueError:
        return False
    return isinstance(answer, dict) and bool({"experiment", "error_code"} & answer.keys())


def _check_database(location: Location) -> None:
    try:
        engine = create_engine(
            location.mlflow_uri, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_LIMIT_S}
        )
    except ImportError as error:
        advice = "run `pip install 'whc[postgres]'`"
        raise _unavailable(location, "needs a driver", f"no module {error.name}", advice) from error
    except SQLAlchemyError as error:
        raise _unavailable(location, "must be an address", reason(error, location), _ADDRESS_ADVICE) from error
    try:
        with engine.connect() as connection:
            tables = set(inspect(connection).get_table_names())
            has_revision = "alembic_version" in tables
            revision = connection.scalar(text("SELECT version_num FROM alembic_version")) if has_revision else None
    except (SQLAlchemyError, UnicodeError) as error:
        got = reason(getattr(error, "orig", None) or error, location)
        raise _unavailable(location, "must be a PostgreSQL database", got, "correct the URI, or start it") from error
    if revision is None:
        if not tables <= Base.metadata.tables.keys() | {"alembic_version"}:
            advice = "create a database of its own for the registry"
            raise _unavailable(location, "must be empty or MLflow's", f"{len(tables)} other tables", advice)
        with locked(location):
            SqlAlchemyStore(location.mlflow_uri, location.artifacts_uri).engine.dispose()
    elif revision != newest_revision():
        raise other_version(location, revision)


def _unavailable(location: Location, rule: str, got: str, next_step: str) -> RegistryUnavailable:
    return RegistryUnavailable(f"{location.shown}: {rule}, got: {got}; {next_step}")
