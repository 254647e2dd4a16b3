"""Where models and studies are kept: MLflow on an embedded sqlite database, imported by this package alone."""

import logging
import os

# What other tools set for MLflow, and for what its server is made of, is meant for their servers: it would move our
# files, ask for a log-in or open the UI to others. `mlflow/server.yaml` says all that there is to say.
_FOREIGN_PREFIXES = ("MLFLOW_", "_MLFLOW_", "UVICORN_", "GUNICORN_", "FLASK_")
_SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}


def settle_environment() -> None:
    """Make the environment of this process and its children our own, as far as MLflow reads it."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN_PREFIXES)]:
        del os.environ[name]
    os.environ.update(_SETTINGS)


# Some of it is read when mlflow is imported: settled before any module of this package can do so.
settle_environment()
# What the database cannot do is raised, and told in one line; MLflow would print a traceback as well.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
