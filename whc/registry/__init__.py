"""The registry of models and studies: MLflow on an embedded sqlite database. Only this package imports MLflow."""

import logging
import os

# Variables that other tools set for MLflow and its server's libraries are meant for their own servers: they would move
# our files, ask for a log-in or open the UI to others. Our only settings are those in `mlflow/server.yaml`.
_FOREIGN_PREFIXES = ("MLFLOW_", "_MLFLOW_", "UVICORN_", "GUNICORN_", "FLASK_")
_MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def set_environment() -> None:
    """Replace all variables that MLflow reads by ours, for this process and its children."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN_PREFIXES)]:
        del os.environ[name]
    os.environ.update(_MLFLOW_SETTINGS)


# MLflow reads some variables at its import, so they are set before any module of this package imports it.
set_environment()
# An error of the database is raised and reported in one line; MLflow would also print a traceback.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
