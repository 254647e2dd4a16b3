"""The registry of models and studies: MLflow on an embedded sqlite database, or on a server that others use too.

Only this package imports MLflow.
"""

import logging
import os

# Variables that other tools set for MLflow and its server's libraries are meant for their own servers: they would move
# our files, ask for a log-in or open the UI to others. Our only settings are those in `mlflow/server.yaml`, which may
# ask for the server that MLFLOW_TRACKING_URI names.
_FOREIGN_PREFIXES = ("MLFLOW_", "_MLFLOW_", "UVICORN_", "GUNICORN_", "FLASK_")
_MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Its lines would stand amid a result on stdout, and show the server's address with its password.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # By its own settings MLflow would wait for a server that is down for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
# How to log in at a server that was asked for; a password there need not stand in its address.
_LOGIN_VARIABLES = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
)
removed: dict[str, str] = {}
"""The variables that `set_environment` took away, by name."""


def set_environment(has_login: bool = False) -> None:
    """Replace all variables that MLflow reads by ours, for this process and its children.

    Args:
        has_login: leave the variables that log in at an MLflow server.
    """
    for name in [name for name in os.environ if name.startswith(_FOREIGN_PREFIXES)]:
        value = os.environ.pop(name)
        if name not in _MLFLOW_SETTINGS:
            removed[name] = value
    os.environ.update(_MLFLOW_SETTINGS)
    if has_login:
        os.environ.update({name: removed[name] for name in _LOGIN_VARIABLES if name in removed})


# MLflow reads some variables at its import, so they are set before any module of this package imports it.
set_environment()
# An error of the database is raised and reported in one line; MLflow would also print a traceback.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
